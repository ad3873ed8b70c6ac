"""A vault for tests: every database of theirs is written with one and the same master key."""

from flowhq.db.datakeys import open_vault as open_stored_vault
from flowhq.db.installation import load_installation
from flowhq.vault import KEY_BYTES, MasterKey, Vault

MASTER = MasterKey(b"t" * KEY_BYTES)
# The same in its written form.
MASTER_TEXT = "dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ=\n"


async def open_vault(url: str) -> Vault:
    """The vault of a migrated database."""
    await load_installation(url)
    return await open_stored_vault(url, MASTER)
