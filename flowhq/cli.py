"""The command line: arguments in, exit code out, every expected failure as a sentence.

The commands import what they need when they run, so that `--version` and `check-config` need no
browser and no database. Exit codes are those of ``flowhq.errors.ExitCode``.
"""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flowhq import configfile
from flowhq.admin.scopes import Role, Scope
from flowhq.config import Config, master_key_file
from flowhq.errors import ConfigError, ExitCode, FlowHQError, InvalidInputError, MisconfiguredError
from flowhq.password import MAX_CHARS, hash_password

if TYPE_CHECKING:
    # The only name that argparse has for it.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
else:
    Commands = object

PROGRAM = "flowhq-daemon"
DEFAULT_FILE = Path("config.toml")
DAYS_MAX = 3650
# What a shell reports for a program that SIGINT ended.
INTERRUPTED = 130


def execute(arguments: Sequence[str]) -> int:
    """Runs one command and returns the process's exit code; bugs alone raise."""
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.execute
    try:
        return command(parsed)
    except FlowHQError as error:
        _explain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        type=Path,
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the settings; default: $FLOWHQ_CONFIG, or config.toml here if there is one",
    )
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        parents=[shared],
        description="WhatsApp bots for many tenants from one daemon.",
        epilog="Exit codes and what they mean: docs/operations.md.",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {version('flowhq')}")
    parser.set_defaults(execute=_run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, function, about in (
        ("run", _run, "run the daemon in the foreground (the default)"),
        ("check-config", _check_config, "read every setting and name every mistake"),
        ("migrate", _migrate, "bring the database to this version's schema"),
        ("doctor", _doctor, "try everything the daemon needs on this machine"),
        ("demo", _demo, "show it all on this machine: simulated WhatsApp, daemon, one tenant"),
        ("hash-password", _hash_password, "read a password from standard input, print its hash"),
    ):
        command = commands.add_parser(name, parents=[shared], help=about, description=about)
        command.set_defaults(execute=function)
    _add_access_commands(commands, shared)
    _add_rotate_key(commands, shared)
    _add_backups(commands, shared)
    return parser


def _add_access_commands(commands: Commands, shared: argparse.ArgumentParser) -> None:
    about = "create an admin user; the password is read from standard input"
    command = commands.add_parser("create-admin", parents=[shared], help=about, description=about)
    command.add_argument("name", metavar="NAME", help="a user name or an e-mail address")
    command.add_argument(
        "--role", choices=list(Role), type=Role, default=Role.ADMIN, help="default: admin"
    )
    command.set_defaults(execute=_create_admin)
    about = "create a token for a program, and print it"
    command = commands.add_parser("create-token", parents=[shared], help=about, description=about)
    command.add_argument("name", metavar="NAME", help="what it is for")
    command.add_argument(
        "--scope", action="append", required=True, metavar="SCOPE", help="may be given repeatedly"
    )
    command.add_argument(
        "--tenant",
        action="append",
        default=[],
        type=UUID,
        metavar="ID",
        help="only this tenant; may be given repeatedly",
    )
    command.add_argument("--days", type=int, metavar="N", help="until it expires; default: never")
    command.set_defaults(execute=_create_token)


def _add_rotate_key(commands: Commands, shared: argparse.ArgumentParser) -> None:
    about = "wrap every data key by a new master key; the daemon must be stopped"
    command = commands.add_parser("rotate-key", parents=[shared], help=about, description=about)
    command.set_defaults(execute=_rotate_key)
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="the file with the new key, made if it is not there; default: the present file gets "
        "a new one",
    )
    which.add_argument(
        "--lost",
        action="store_true",
        help="the present key is lost: make a new one and give up everything that is sealed",
    )


def _add_backups(commands: Commands, shared: argparse.ArgumentParser) -> None:
    locked = argparse.ArgumentParser(add_help=False)
    locked.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="the key that locks the backup, as `openssl rand -base64 32` prints it; default: a "
        "passphrase from the terminal or the first line of standard input",
    )
    about = "write all of a tenant that does not run into one encrypted file"
    command = commands.add_parser(
        "backup-tenant", parents=[shared, locked], help=about, description=about
    )
    command.set_defaults(execute=_back_up_tenant)
    command.add_argument("tenant", type=UUID, metavar="ID", help="the tenant's id")
    command.add_argument("--to", type=Path, metavar="FILE", required=True, help="the new file")
    about = "bring a tenant back from its backup, stopped, where it does not exist"
    command = commands.add_parser(
        "restore-tenant", parents=[shared, locked], help=about, description=about
    )
    command.set_defaults(execute=_restore_tenant)
    command.add_argument("file", type=Path, metavar="FILE", help="what backup-tenant wrote")


def _load(arguments: argparse.Namespace) -> Config:
    named: Path | None = getattr(arguments, "config", None)
    if named is None and os.environ.get("FLOWHQ_CONFIG"):
        named = Path(os.environ["FLOWHQ_CONFIG"])
    if named is None and DEFAULT_FILE.exists():
        named = DEFAULT_FILE
    return configfile.load(named, os.environ)


def _require_secrets(settings: Config) -> None:
    """What the daemon cannot do without and no default can be."""
    master_key_file(settings)
    if not settings.admin.password_hash.get_secret_value():
        raise MisconfiguredError(
            "No admin password is set, and without one anybody on this machine could use the API.",
            next_step=f"Run `{PROGRAM} hash-password` and put what it prints into [admin] "
            "password_hash, or into the variable FLOWHQ_ADMIN__PASSWORD_HASH.",
        )


def _run(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    _require_secrets(settings)
    from flowhq import daemon

    return asyncio.run(daemon.run(settings))


def _check_config(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    _require_secrets(settings)
    _say(f"{settings.file or 'the defaults'} and the environment: every setting can be used.")
    return ExitCode.OK


def _migrate(arguments: argparse.Namespace) -> int:
    _say(asyncio.run(_bring_database_up(_load(arguments))))
    return ExitCode.OK


async def _bring_database_up(settings: Config) -> str:
    """Migrates the database, started for it if it is the embedded one; says what was done."""
    from flowhq.daemon import open_database_url
    from flowhq.db.migrate import migrate

    async with AsyncExitStack() as stack:
        done = await migrate(await open_database_url(settings, stack))
    applied = ", ".join(map(str, done.applied)) or "nothing, it was there already"
    return f"The database is at version {done.version}; applied now: {applied}."


def _rotate_key(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import offline

    _say(asyncio.run(offline.rotate_key(settings, arguments.to, lost=arguments.lost)))
    return ExitCode.OK


def _back_up_tenant(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import offline

    lock = offline.lock(arguments.key_file, lambda: _read_secret("Passphrase", twice=True))
    _say(asyncio.run(offline.back_up(settings, arguments.tenant, lock, arguments.to)))
    return ExitCode.OK


def _restore_tenant(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import offline

    lock = offline.lock(arguments.key_file, lambda: _read_secret("Passphrase"))
    _say(asyncio.run(offline.restore(settings, lock, arguments.file)))
    return ExitCode.OK


def _doctor(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import doctor

    with _quiet_logs(settings):
        healthy = asyncio.run(doctor.examine(settings, _say))
    return ExitCode.OK if healthy else ExitCode.FAILURE


@contextmanager
def _quiet_logs(settings: Config) -> Iterator[None]:
    """The command says what matters itself."""
    from flowhq import log

    logs = log.setup(settings.logging.model_copy(update={"level": "error"}))
    try:
        yield
    finally:
        logs.close()


def _demo(_: argparse.Namespace) -> int:
    from flowhq import demo

    return asyncio.run(demo.run(_say))


def _hash_password(_: argparse.Namespace) -> int:
    _say(hash_password(_read_secret("Password")))
    return ExitCode.OK


def _create_admin(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import access

    password = _read_secret("Password")
    with _quiet_logs(settings):
        name = asyncio.run(access.create_admin(settings, arguments.name, arguments.role, password))
    _say(f"The user {name} may sign in now, with the role {arguments.role}.")
    return ExitCode.OK


def _create_token(arguments: argparse.Namespace) -> int:
    settings = _load(arguments)
    from flowhq import access

    known = [scope.value for scope in Scope if scope is not Scope.PORTAL]
    for word in arguments.scope:
        if word not in known:
            raise InvalidInputError(
                f"There is no scope {word}.", field="scope", next_step=f"Known: {', '.join(known)}."
            )
    if arguments.days is not None and not 1 <= arguments.days <= DAYS_MAX:
        raise InvalidInputError(f"A token lasts 1 to {DAYS_MAX} days.", field="days")
    order = access.TokenOrder(
        name=arguments.name,
        scopes=[Scope(word) for word in arguments.scope],
        tenants=arguments.tenant,
        days=arguments.days,
    )
    with _quiet_logs(settings):
        token = asyncio.run(access.create_token(settings, order))
    _say(token)
    return ExitCode.OK


def _read_secret(what: str, *, twice: bool = False) -> str:
    """The first line of standard input; asked for without echo on a terminal, ``twice`` if a slip
    would not be noticed otherwise."""
    if sys.stdin.isatty():
        given = getpass.getpass(f"{what}: ")
        if twice and getpass.getpass(f"{what} again: ") != given:
            raise InvalidInputError("The two are not the same.", field=what.lower())
        return given
    # Bytes: in the locale C the text stream lets through what is no text, for a later step to fail.
    line = sys.stdin.buffer.readline(4 * MAX_CHARS + 2)
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInputError(
            f"The {what.lower()} is not UTF-8 text.", field=what.lower()
        ) from None


def _explain(error: FlowHQError) -> None:
    if isinstance(error, ConfigError):
        count = len(error.problems)
        lines = [f"{count} mistake{'s' if count > 1 else ''} in the settings:"]
        lines += [f"  {problem}" for problem in error.problems]
    else:
        lines = [error.message]
    if error.next_step:
        lines.append(error.next_step)
    sys.stderr.write(f"{PROGRAM}: " + "\n".join(lines) + "\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
