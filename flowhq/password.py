"""The admin password on its way into the settings: only its Argon2id hash is ever kept."""

from argon2 import PasswordHasher

from flowhq.errors import InvalidInputError

MIN_CHARS = 8
# Argon2 reads all of it: a limit keeps a slip (a file piped in) from hashing for minutes.
MAX_CHARS = 1024


def hash_password(password: str) -> str:
    """The hash to put into the settings, about 32 ms of a core and 19 MB to make or to check.

    Raises InvalidInputError for a password that is too short, too long or all blanks.
    """
    if not MIN_CHARS <= len(password) <= MAX_CHARS or password.isspace():
        raise InvalidInputError(
            f"The password must have {MIN_CHARS} to {MAX_CHARS} characters.",
            field="password",
            next_step="A good one: what `head -c 18 /dev/urandom | base64` prints.",
        )
    return PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash(password)
