"""Logs: one stream for the operator, one file per tenant beside it, nothing private in either.

Everything passes the same chain: structlog's loggers, the standard library's (aiohttp, asyncio's
unhandled errors, warnings) and what is bound by context (``tenant_id``, ``chat``). Call ``setup``
once, from the composition root; modules only ask ``structlog.get_logger()``.
"""

import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import UUID

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from flowhq.config import LoggingSettings

HIDDEN = "[hidden]"
# Deeper values are shown as text: a log line is not the place for a tree.
MAX_DEPTH = 6
# What asyncpg 0.32 says while it cannot connect, after 1, 2, 4 ... 60 s each time; an outage is
# over when nothing was heard of it for longer than that.
POOL_LOGGER = "asyncpg.pool"
POOL_COMPLAINT = "Failed to restore the pool connection floor"
POOL_EPISODE_S = 150.0
# Beyond 53 bits readers of JSON disagree about integers.
_LARGEST_INTEGER = 2**53

_HIDDEN_KEY = re.compile(
    r"(^|_)(text|body|caption|token|password|password_hash|passphrase|secret|authorization|cookie|qr"
    r"|credential|client_key|api_key)s?$",
    re.IGNORECASE,
)
_NUMBER_KEY = re.compile(r"(^|_)(phone|phone_number|msisdn|jid|lid|chat|chat_key|contact)$")
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_JID = r"(?P<jid>\d{5,})(?=(?:[:.]\d+)?(?:-\d+)?@[a-z])"
_PHONE = r"(?P<phone>(?<![0-9A-Za-z.])(?:\+\d[\d ()./-]{6,18}\d|\d{9,15})(?![0-9A-Za-z]))"
_NUMBERS = re.compile(f"{_UUID}|{_JID}|{_PHONE}")
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b(?:basic|bearer)\s+)[\w+/=.~-]{6,}"
    r"|(?P<url>://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|(?P<field>\b(?:token|password|secret|api_key|signature)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',}]+"
    r"|\$argon2\S+",
    re.IGNORECASE,
)


class LogHandle:
    """What ``setup`` put in place; ``close`` takes all of it back and closes every file."""

    def __init__(self, files: "TenantFiles", restore: Callable[[], None]) -> None:
        self._files = files
        self._restore = restore

    def forget_tenant(self, tenant_id: UUID, *, delete: bool = False) -> None:
        """Closes a tenant's file; with ``delete`` its files are removed as well."""
        self._files.forget(str(tenant_id), delete=delete)

    def reopen(self) -> None:
        """Each tenant's file is opened anew by its next line: somebody moved the old ones away."""
        self._files.close()

    def close(self) -> None:
        self._restore()
        self._files.close()


def setup(settings: LoggingSettings, stream: BinaryIO | None = None) -> LogHandle:
    """Routes every log line to ``stream`` (standard error) and the tenants' files."""
    target = stream if stream is not None else sys.stderr.buffer
    files = TenantFiles(
        settings.directory / "tenants",
        max_bytes=settings.tenant_file_bytes,
        kept=settings.tenant_files_kept,
        max_open=settings.tenant_files_open,
    )
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            redact,
            files,
            *_renderers(settings.format, target),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(file=cast(BinaryIO, _Quiet(target))),
        # Not cached, so that a logger made at import follows the set-up made afterwards.
        cache_logger_on_first_use=False,
    )
    restore_library_logs = _route_library_logs(level)

    def restore() -> None:
        restore_library_logs()
        structlog.reset_defaults()

    return LogHandle(files, restore)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Hides message texts, secrets and all but the ends of phone numbers, exceptions included."""
    return {key: _redacted(key, value, 0) for key, value in event.items()}


def scrub(text: str) -> str:
    """The text with numbers shortened (+255…678) and credentials hidden; ids stay readable."""
    if not text.isascii():
        # Half a surrogate pair, as pages produce them, would make the whole line unwritable.
        text = text.encode("utf-8", "replace").decode("utf-8")
    return _NUMBERS.sub(_shorten, _CREDENTIALS.sub(_hide, text))


def _redacted(key: str, value: Any, depth: int) -> Any:
    if _HIDDEN_KEY.search(key) and value not in (None, "", False, True):
        return HIDDEN
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        plain = abs(value) <= _LARGEST_INTEGER and not _NUMBER_KEY.search(key)
        return value if plain else scrub(str(value))
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {
            scrub(str(name)): _redacted(str(name), item, depth + 1) for name, item in value.items()
        }
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_redacted(key, item, depth + 1) for item in value]
    return scrub(str(value))


def _shorten(match: re.Match[str]) -> str:
    if match["jid"]:
        digits, plus = match["jid"], ""
    elif match["phone"]:
        digits, plus = re.sub(r"\D", "", match["phone"]), "+"
    else:
        return match[0]
    return f"{plus}{digits[:3]}…{digits[-3:]}"


def _hide(match: re.Match[str]) -> str:
    return f"{match['scheme'] or match['url'] or match['field'] or ''}{HIDDEN}"


def _renderers(form: str, target: BinaryIO) -> list[Processor]:
    on_terminal = target.isatty()
    if form == "console" or (form == "auto" and on_terminal):
        console = structlog.dev.ConsoleRenderer(
            colors=on_terminal,
            timestamp_key="at",
            # The traceback is text by now: it was redacted.
            exception_formatter=structlog.dev.plain_traceback,
        )
        return [console, _encode]
    return [_to_json]


def _to_json(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    return orjson.dumps(event)


def _encode(_: WrappedLogger, __: str, event: EventDict) -> bytes:
    # ConsoleRenderer has made a str of it, whatever the signature of processors says.
    return str(event).encode("utf-8", "replace")


def _route_library_logs(level: int) -> Callable[[], None]:
    """Sends the standard library's logging through structlog; returns what undoes it."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers[:] = [_ToStructlog()]
    # The debug lines of libraries carry payloads and help nobody here.
    root.setLevel(max(level, logging.INFO))
    logging.captureWarnings(True)

    def restore() -> None:
        logging.captureWarnings(False)
        root.handlers[:], level_before = before
        root.setLevel(level_before)

    return restore


class _ToStructlog(logging.Handler):
    """Gives each record of the standard library to structlog, with its logger's name."""

    def __init__(self) -> None:
        super().__init__()
        self._pool_told_s = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == POOL_LOGGER and str(record.msg).startswith(POOL_COMPLAINT):
            self._tell_of_the_pool(record)
            return
        try:
            structlog.get_logger().log(
                record.levelno,
                record.getMessage(),
                logger=record.name,
                exc_info=record.exc_info or None,
            )
        except (TypeError, ValueError):
            # A record whose arguments do not fit its format must not stop its sender.
            self.handleError(record)

    def _tell_of_the_pool(self, record: logging.LogRecord) -> None:
        """The pool says so at every attempt, with a traceback: once an outage is enough."""
        now_s = time.monotonic()
        over = now_s - self._pool_told_s > POOL_EPISODE_S
        self._pool_told_s = now_s
        if over:
            error = record.exc_info[1] if record.exc_info else None
            structlog.get_logger().warning(
                "database connections cannot be opened: trying again",
                why=type(error).__name__,
                logger=record.name,
            )


class _Quiet:
    """A stream that never fails: logging to a closed pipe must not stop the daemon."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def write(self, data: bytes) -> int:
        try:
            return self._target.write(data)
        except (OSError, ValueError):
            return len(data)

    def flush(self) -> None:
        try:
            self._target.flush()
        except (OSError, ValueError):
            return


class TenantFiles:
    """The processor that copies a tenant's lines to its own file, as JSON, rotated by size.

    At most ``max_open`` files are open, the one unused for longest is closed first. A disk that
    refuses costs the copy, never the line: the main stream then says why.
    """

    def __init__(self, directory: Path, *, max_bytes: int, kept: int, max_open: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._kept = kept
        self._max_open = max_open
        self._open: OrderedDict[str, BinaryIO] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        name = _file_name(event.get("tenant_id"))
        if name is not None:
            try:
                with self._lock:
                    self._write(name, orjson.dumps(event) + b"\n")
            except OSError as error:
                event["tenant_log_error"] = error.strerror
        return event

    def forget(self, tenant_id: str, *, delete: bool) -> None:
        with self._lock:
            self._close(tenant_id)
            if delete:
                for path in [self._path(tenant_id), *self._rotated(tenant_id)]:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            for name in list(self._open):
                self._close(name)

    def _write(self, name: str, line: bytes) -> None:
        file = self._file(name)
        if file.tell() and file.tell() + len(line) > self._max_bytes:
            self._rotate(name)
            file = self._file(name)
        file.write(line)

    def _file(self, name: str) -> BinaryIO:
        file = self._open.get(name)
        if file is None:
            while len(self._open) >= self._max_open:
                self._close(next(iter(self._open)))
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Unbuffered: what was logged before a kill is on disk.
            file = cast(BinaryIO, self._path(name).open("ab", buffering=0))
            self._open[name] = file
        self._open.move_to_end(name)
        return file

    def _rotate(self, name: str) -> None:
        self._close(name)
        target, *older = reversed([self._path(name), *self._rotated(name)])
        for source in older:
            if source.exists():
                source.replace(target)
            target = source

    def _close(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            file.close()

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def _rotated(self, name: str) -> list[Path]:
        return [self._directory / f"{name}.log.{number}" for number in range(1, self._kept + 1)]


def _file_name(tenant_id: object) -> str | None:
    """The tenant's id if it is one: nothing else may become part of a path."""
    try:
        return str(UUID(str(tenant_id)))
    except ValueError:
        return None
