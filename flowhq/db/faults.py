"""PostgreSQL's and asyncpg's errors as the product's own: nothing else crosses this floor.

A message names the SQLSTATE or the constraint, never a value: PostgreSQL's DETAIL quotes rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from flowhq.errors import (
    AlreadyExistsError,
    FlowHQError,
    InvalidInputError,
    NotFoundError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreUnusableError,
)

# The name of a unique constraint is API: it says which field of the request is taken.
TAKEN_FIELDS = {
    "tenants_pkey": "id",
    "tenants_phone_number_key": "phone_number",
    "tenant_configs_tenant_id_key": "config",
    "whatsapp_sessions_tenant_id_key": "session",
    "worker_processes_tenant_id_key": "worker",
    "worker_processes_name_key": "worker.name",
    "contacts_phone_number_key": "phone_number",
    "contacts_lid_key": "lid",
    "contacts_bsuid_key": "bsuid",
    "conversations_chat_key_key": "chat_key",
    "admin_users_name_key": "name",
    "outbox_cause_part_key": "cause",
    "outbox_client_id_key": "client_id",
    "portal_users_email_key": "email",
    "setup_requests_open_key": "setup_request",
}

# The name of a check constraint says which field cannot be accepted.
CHECKED_FIELDS = {
    "tenants_name_check": "name",
    "tenants_phone_number_check": "phone_number",
    "tenant_configs_details_check": "details",
    "portal_users_email_check": "email",
    "setup_requests_number_check": "whatsapp_number",
}

# SQLSTATE classes and codes after which the same call may succeed later.
TRANSIENT = (
    "08",  # connection exceptions
    "25006",  # read-only: a standby before its promotion
    "25P03",  # idle in transaction for too long: our process was held up
    "40",  # serialization failure, deadlock
    "53",  # insufficient resources: connections, memory, disk
    "55P03",  # lock not available
    "57",  # shutdown, crash, starting up, query cancelled
    "58",  # system errors outside PostgreSQL
)

DATA_ERROR = "22"
FOREIGN_KEY_VIOLATION = "23503"
UNIQUE_VIOLATION = "23505"
CHECK_VIOLATION = "23514"

REFUSALS = {
    "28": (
        "it does not let this user in",
        "Check user and password in [database] url and the server's pg_hba.conf.",
    ),
    "3D": (
        "the database does not exist",
        "Create it (createdb) or correct its name in [database] url.",
    ),
    "42501": (
        "this user lacks a right",
        "Let the user own the database and have CREATEROLE, or be a member of flowhq_app "
        "and flowhq_ops; see docs/database.md.",
    ),
    "3F": (
        "this user has no schema to work in",
        "Let the user own the database; see docs/database.md.",
    ),
    "42P01": ("a table is missing", "Run flowhq-daemon migrate."),
    "42883": ("a function is missing", "Run flowhq-daemon migrate."),
}

# A setting that is missing, or a value of one message.
BAD_SETTING = "22023"
# Raised for a row that belongs to another tenant, too: that is a mistake of the statement.
OTHERS_ROW = "row-level security"

UNREACHABLE_STEP = "Check that PostgreSQL runs and that [database] url reaches it."


@contextmanager
def translated(late: type[StoreUnavailableError] = StoreUnavailableError) -> Iterator[None]:
    """Every error of asyncpg and of the connection leaves as one of ours, cause attached; one of
    time, ours or the server's, as ``late``.

    To be put around calls into asyncpg only: an OSError or TimeoutError inside is the store's.
    """
    try:
        yield
    except (TimeoutError, asyncpg.QueryCanceledError) as error:
        raise late("PostgreSQL did not answer in time.", next_step=UNREACHABLE_STEP) from error
    except asyncpg.PostgresError as error:
        raise _of_server(error) from error
    except (asyncpg.InternalClientError, asyncpg.InterfaceError) as error:
        raise _of_client(error) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"PostgreSQL cannot be reached ({type(error).__name__}).", next_step=UNREACHABLE_STEP
        ) from error


@contextmanager
def connecting() -> Iterator[None]:
    """``translated`` for what reads the url as well: asyncpg lets plain ValueErrors out there."""
    with translated():
        try:
            yield
        except asyncpg.InterfaceError:
            raise
        except ValueError as error:
            raise _bad_url() from error


def _bad_url() -> StoreRefusedError:
    return StoreRefusedError(
        "The database url cannot be used.",
        next_step="Write [database] url as postgresql://user:password@host:port/database.",
    )


def _of_server(error: asyncpg.PostgresError) -> FlowHQError:
    state = str(error.sqlstate or "")
    if state.startswith(TRANSIENT):
        return StoreUnavailableError(
            f"PostgreSQL is not available ({type(error).__name__}, {state}).",
            next_step=UNREACHABLE_STEP,
        )
    constraint = str(getattr(error, "constraint_name", "") or "")
    if state == UNIQUE_VIOLATION:
        field = TAKEN_FIELDS.get(constraint, constraint)
        return AlreadyExistsError(f"This {field} is taken.", field=field)
    if state == FOREIGN_KEY_VIOLATION:
        return NotFoundError(f"What this belongs to does not exist any more ({constraint}).")
    if state == CHECK_VIOLATION and constraint in CHECKED_FIELDS:
        field = CHECKED_FIELDS[constraint]
        return InvalidInputError(f"This {field} cannot be stored.", field=field)
    if state == CHECK_VIOLATION and not constraint:
        return StoreUnusableError(
            "PostgreSQL refuses: a day of the ledger is missing.",
            next_step="Restart the daemon: it makes the days ahead.",
        )
    for prefix, (message, next_step) in REFUSALS.items():
        if state.startswith(prefix) and OTHERS_ROW not in str(error):
            return StoreUnusableError(f"PostgreSQL refuses: {message}.", next_step=next_step)
    if state == BAD_SETTING:
        return StoreRefusedError(
            "PostgreSQL refuses: a role or setting is missing.",
            next_step="Run flowhq-daemon migrate with the same [database] url.",
        )
    if state.startswith(DATA_ERROR):
        return InvalidInputError(f"A value cannot be stored ({state}).", field="")
    return StoreRefusedError(f"PostgreSQL refuses the statement ({type(error).__name__}, {state}).")


def _of_client(error: Exception) -> FlowHQError:
    """asyncpg's own: a value it cannot encode, a url it cannot read, or a connection that is
    closed."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return _bad_url()
    if isinstance(error, asyncpg.UnsupportedServerFeatureError):
        return StoreRefusedError(
            "The PostgreSQL server lacks what is needed (an unknown server kind or login method)."
        )
    if isinstance(error, ValueError):
        return InvalidInputError("A value cannot be stored (wrong type or range).", field="")
    return StoreUnavailableError(
        f"The connection to PostgreSQL is not usable ({type(error).__name__}).",
        next_step=UNREACHABLE_STEP,
    )
