"""Passwords of people: only their Argon2id hashes are ever kept."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from flowhq.errors import InvalidInputError

MIN_CHARS = 8
# Argon2 reads all of it: a limit keeps a slip (a file piped in) from hashing for minutes.
MAX_CHARS = 1024
# Of a random text that nobody kept: what an unknown user's password is compared with, so that the
# answer takes as long as for a known one.
NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1"
    "$Z9wYkf9VClYMG2BYOVGcEw$YkAGdqi3P0o6Q3YRwo5bYeBBT4ykFCzS1pG/OPB7BqU"
)


def hash_password(password: str) -> str:
    """The hash to keep, about 32 ms of a core and 19 MB to make or to check.

    Raises InvalidInputError for a password that is too short, too long or all blanks.
    """
    if not MIN_CHARS <= len(password) <= MAX_CHARS or password.isspace():
        raise InvalidInputError(
            f"The password must have {MIN_CHARS} to {MAX_CHARS} characters.",
            field="password",
            next_step="A good one: what `head -c 18 /dev/urandom | base64` prints.",
        )
    return _hasher().hash(password)


def verify_password(stored: str, password: bytes) -> bool:
    """Whether the hash is of this password; as slow as making it."""
    try:
        return _hasher().verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
