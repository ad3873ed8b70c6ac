"""The master key's file: made once, never made up, exchanged whole however often it is begun."""

import stat
from pathlib import Path

import pytest

from flowhq import doctor, masterkey
from flowhq.config import Config, DatabaseSettings, SecretSettings
from flowhq.db import datakeys
from flowhq.db.installation import load_installation
from flowhq.db.pool import Database
from flowhq.errors import MisconfiguredError
from flowhq.vault import Vault
from tests.integration.db.conftest import Shop
from tests.vaults import MASTER_TEXT

PLACE = {"column": "webhooks.secret", "row": "1"}


@pytest.fixture
async def url(any_url: str) -> str:
    await load_installation(any_url)
    return any_url


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "master.key"


@pytest.fixture
def config(url: str, key: Path) -> Config:
    """A database by url, with a key file that is there."""
    key.parent.mkdir()
    key.write_text(MASTER_TEXT)
    key.chmod(0o600)
    return Config(
        database=DatabaseSettings.model_validate({"url": url}),
        secrets=SecretSettings(master_key_file=key),
    )


def sealed_by(vault: Vault) -> bytes:
    return vault.installation.seal("siri", **PLACE)


async def test_beside_the_embedded_database_it_is_made_once_for_its_owner_alone(
    url: str, tmp_path: Path
) -> None:
    config = Config(database=DatabaseSettings(data_dir=tmp_path))
    sealed = sealed_by(await masterkey.open_vault(config, url))
    made = tmp_path / "master.key"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    text = made.read_text()
    vault = await masterkey.open_vault(config, url)
    assert vault.installation.open(sealed, **PLACE) == "siri"
    assert made.read_text() == text
    made.unlink()
    with pytest.raises(MisconfiguredError, match=r"master\.key cannot be read"):
        await masterkey.open_vault(config, url)
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_somebody_named_is_not_made_up(
    config: Config, url: str, key: Path
) -> None:
    key.unlink()
    with pytest.raises(MisconfiguredError, match="does not exist") as refused:
        await masterkey.open_vault(config, url)
    assert "openssl rand" in refused.value.next_step
    assert not key.exists()


async def test_an_existing_file_is_not_replaced(key: Path) -> None:
    masterkey.make(key)
    text = key.read_text()
    with pytest.raises(MisconfiguredError, match="exists already"):
        masterkey.make(key)
    assert key.read_text() == text
    assert [path.name for path in key.parent.iterdir()] == [key.name]


async def test_a_rotation_that_was_interrupted_before_the_database_goes_on_with_its_key(
    config: Config, url: str, key: Path
) -> None:
    sealed = sealed_by(await masterkey.open_vault(config, url))
    begun = key.with_name("master.key.next")
    masterkey.make(begun)
    text = begun.read_text()
    done = await masterkey.rotate(config, url, None)
    assert (done.file, key.read_text(), begun.exists()) == (key, text, False)
    vault = await masterkey.open_vault(config, url)
    assert vault.installation.open(sealed, **PLACE) == "siri"


async def test_a_rotation_that_was_interrupted_after_the_database_is_told_and_finished(
    config: Config, url: str, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = sealed_by(await masterkey.open_vault(config, url))

    def die(*_: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(masterkey, "_settle", die)
        with pytest.raises(KeyboardInterrupt):
            await masterkey.rotate(config, url, None)
    with pytest.raises(MisconfiguredError, match="rotate-key once more"):
        await masterkey.open_vault(config, url)
    await masterkey.rotate(config, url, None)
    vault = await masterkey.open_vault(config, url)
    assert vault.installation.open(sealed, **PLACE) == "siri"
    assert [path.name for path in key.parent.iterdir()] == [key.name]


async def test_a_rotation_to_another_file_leaves_the_present_one(
    config: Config, url: str, key: Path, tmp_path: Path, shop: Shop
) -> None:
    vault = await masterkey.open_vault(config, url)
    async with Database(url, vault=vault) as database, database.tenant(shop.tenant_id) as tx:
        sealed = (await datakeys.tenant_key(tx, shop.tenant_id)).seal("siri", **PLACE)
    new = tmp_path / "new.key"
    done = await masterkey.rotate(config, url, new)
    assert (done.file, done.tenants, key.read_text()) == (new, 1, MASTER_TEXT)
    again = await masterkey.rotate(config, url, new)
    assert (again.file, again.tenants) == (new, 0)
    with pytest.raises(MisconfiguredError):
        await masterkey.open_vault(config, url)
    moved = config.model_copy(update={"secrets": SecretSettings(master_key_file=new)})
    vault = await masterkey.open_vault(moved, url)
    async with Database(url, vault=vault) as database, database.tenant(shop.tenant_id) as tx:
        assert (await datakeys.tenant_key(tx, shop.tenant_id)).open(sealed, **PLACE) == "siri"


async def test_a_key_is_given_up_only_when_no_file_is_there(
    config: Config, url: str, key: Path
) -> None:
    await masterkey.open_vault(config, url)
    with pytest.raises(MisconfiguredError, match="is still there"):
        await masterkey.give_up(config, url)
    assert key.read_text() == MASTER_TEXT
    key.rename(key.with_name("wrong"))
    assert await masterkey.give_up(config, url) == key
    await masterkey.open_vault(config, url)


async def test_the_doctor_tells_whether_the_key_fits(config: Config, url: str, key: Path) -> None:
    assert "can be used" in await doctor.check_master_key(config)
    await masterkey.open_vault(config, url)
    assert "can be used" in await doctor.check_master_key(config)
    key.chmod(0o644)
    with pytest.raises(MisconfiguredError, match="every user") as refused:
        await doctor.check_master_key(config)
    assert refused.value.next_step == f"chmod 600 {key}"
    key.unlink()
    masterkey.make(key)
    with pytest.raises(MisconfiguredError, match="not the one"):
        await doctor.check_master_key(config)
    key.write_text("karibu")
    with pytest.raises(MisconfiguredError, match="holds no master key"):
        await doctor.check_master_key(config)


async def test_the_doctor_knows_a_key_that_is_not_made_yet_and_one_that_is_not_set(
    tmp_path: Path,
) -> None:
    fresh = Config(database=DatabaseSettings(data_dir=tmp_path))
    assert "made at the first start" in await doctor.check_master_key(fresh)
    by_url = DatabaseSettings.model_validate({"url": "postgresql://somebody@127.0.0.1:1/none"})
    with pytest.raises(MisconfiguredError, match="No master key is set") as refused:
        await doctor.check_master_key(Config(database=by_url))
    assert "FLOWHQ_SECRETS__MASTER_KEY_FILE" in refused.value.next_step
