"""The documented dump: of a database in use, restored into another one that opens with the key."""

import asyncio
import os
import re
from pathlib import Path

from flowhq.db import datakeys
from flowhq.db.binaries import find_binaries
from flowhq.db.embedded import EmbeddedPostgres
from flowhq.db.installation import load_installation
from flowhq.db.migrate import migrate
from flowhq.db.pool import Database
from flowhq.db.tenantlists import list_tenants
from tests.integration.backup.conftest import House, Shop
from tests.vaults import open_vault

DOCUMENT = Path(__file__).parents[3] / "docs/backup.md"
PLACE = {"column": "webhooks.secret", "row": "1"}


def documented(program: str) -> str:
    """The one line with this program in the documentation's shell blocks."""
    (line,) = re.findall(rf'^"\$POSTGRES/{program}".*$', DOCUMENT.read_text("utf-8"), re.M)
    return str(line)


async def carry_out(script: str, **places: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        script,
        env=os.environ | places,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_a_dump_is_restored_with_its_sealed_secrets(
    here: House, shop: Shop, pg_server: EmbeddedPostgres, empty_url: str, tmp_path: Path
) -> None:
    async with here.database.tenant(shop.tenant_id) as tx:
        sealed = (await datakeys.tenant_key(tx, shop.tenant_id)).seal("siri", **PLACE)
    postgres = str(find_binaries()[0].directory)
    name = here.url.partition("?")[0].rpartition("/")[2]
    dump = re.sub(r" flowhq$", f" {name}", documented("pg_dump"))
    places = {"POSTGRES": postgres, "BACKUP": str(tmp_path)}
    await carry_out(dump, SOCKETS=str(pg_server.socket_dir), **places)
    await carry_out(documented("pg_restore"), URL=empty_url, **places)
    assert (await migrate(empty_url)).applied == ()
    assert await load_installation(empty_url) == here.installation
    async with Database(empty_url, vault=await open_vault(empty_url)) as database:
        (row,) = (await list_tenants(database, limit=10)).rows
        assert row.tenant_id == shop.tenant_id
        async with database.tenant(shop.tenant_id) as tx:
            key = await datakeys.tenant_key(tx, shop.tenant_id)
            assert await tx.fetchval("SELECT count(*) FROM message_logs") == 3
        assert key.open(sealed, **PLACE) == "siri"
