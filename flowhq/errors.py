"""Every error of the product. A class states what is to be done; nobody decides it again.

Messages name the tenant, the thing and the next step, and never a message text, a token or a
whole phone number. No asyncpg, playwright or aiohttp error crosses the floor it was raised on:
the edge translates it into one of these with ``raise ... from``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; the numbers are those of sysexits.h where one fits."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 69
    CONFIG = 78


class FlowHQError(Exception):
    """The root. ``next_step`` tells a person what to do; empty only if nothing can be done."""

    exit_code = ExitCode.FAILURE

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".rstrip()


# -- the operator's mistakes: stop and say what to change -------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake: ``where`` is a file or a variable's name, ``key`` the setting."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.key}: {self.message}"
            if self.key
            else (f"{self.where}: {self.message}")
        )


class ConfigError(FlowHQError):
    """Settings that cannot be used; carries every problem, not only the first."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: Sequence[ConfigProblem], *, next_step: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in problems), next_step=next_step)
        self.problems = tuple(problems)


class MisconfiguredError(FlowHQError):
    """Something outside must be installed or changed before this can work: stop, do not retry."""

    exit_code = ExitCode.CONFIG


class ChromiumMissingError(MisconfiguredError):
    """No browser on this machine that can be launched."""


class SealedError(MisconfiguredError):
    """A stored secret, or the key it is sealed with, cannot be opened; the message names it."""


class BackupError(FlowHQError):
    """A backup cannot be taken or read as it is; nothing was left half."""


class InUseError(FlowHQError):
    """A running daemon holds it; it may be one that is ending, or dead and not missed yet."""

    exit_code = ExitCode.UNAVAILABLE


# -- the database ------------------------------------------------------------------------------


class StoreError(FlowHQError):
    """PostgreSQL did not do what it was asked for."""


class StoreUnavailableError(StoreError):
    """PostgreSQL cannot be reached or is starting: wait and retry. Never means "no such row"."""

    exit_code = ExitCode.UNAVAILABLE


class StoreTimeoutError(StoreUnavailableError):
    """PostgreSQL took up a statement and did not end it in time: it is away, or it is this very
    statement, which only others can tell."""


class StoreRefusedError(StoreError):
    """PostgreSQL answered that it will not (version, rights, newer schema): stop."""

    exit_code = ExitCode.CONFIG


class StoreUnusableError(StoreRefusedError):
    """What every statement needs is missing (a login, a right, a table): none is at fault, and the
    same one succeeds when that is mended. Wait and retry where waiting is bounded otherwise."""


class NotFoundError(FlowHQError):
    """The thing asked for does not exist, or not for this tenant."""


class AlreadyExistsError(FlowHQError):
    """Something unique is taken; ``field`` names which, in the API's words."""

    def __init__(self, message: str, *, field: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.field = field


class ChangedMeanwhileError(FlowHQError):
    """It is not what the client has seen any more: nothing was changed, so that nothing is lost."""


class InvalidInputError(FlowHQError):
    """Input that cannot be accepted; ``field`` is its path, such as ``hours_json.mon[0]``."""

    def __init__(self, message: str, *, field: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.field = field


class WrongStateError(FlowHQError):
    """The verb does not fit the present state: refused, nothing changed; the hint is next_step."""


# -- the channel -------------------------------------------------------------------------------


class ChannelError(FlowHQError):
    """The root of what a channel can meet."""


class ChannelRestartError(ChannelError):
    """The page or browser is no use any more: restart it, with backoff. ``reason`` is a Reason."""

    def __init__(self, message: str, *, reason: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class PageReadError(ChannelRestartError):
    """The page lives, and could not tell one thing that it was asked for; others it may."""


class UnlinkedError(ChannelRestartError):
    """The page lost its link while it was asked; that it did follows as an event, behind what it
    told before."""


class LoginRequiredError(ChannelError):
    """A person must act at the phone (scan, unban): no restart loop."""

    def __init__(self, message: str, *, reason: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.reason = reason


class SendRefusedError(ChannelError):
    """The platform said no to this one message. ``retry`` tells whether again makes sense."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


class SendUnknownError(ChannelError):
    """No answer within the limit: the message may or may not be out. Look it up, never repeat
    it blindly."""


# -- HTTP to the outside -----------------------------------------------------------------------


class EgressError(FlowHQError):
    """The root of what a call to the outside can meet. Messages name no address."""


class EgressRefusedError(EgressError):
    """It must not be called: the URL, a redirect, or where the name leads. Somebody must change
    the URL or the settings; nothing was connected to."""


class EgressFailedError(EgressError):
    """Nothing usable came back in time: the same call may succeed later."""
