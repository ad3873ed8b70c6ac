"""Files that appear whole, for their owner alone, and keys in their written form."""

import stat
from pathlib import Path

import pytest

from flowhq import masterkey
from flowhq.backup.folder import read_key_file
from flowhq.errors import BackupError, MisconfiguredError
from flowhq.privatefile import new_file, parse_key, write_key


def test_a_file_appears_whole_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with new_file(target) as file:
        file.write(b"half")
        assert not target.exists()
        file.write(b" and half")
    assert target.read_bytes() == b"half and half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_of_a_block_that_fails_nothing_is_left(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with new_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("early", [True, False])
def test_a_file_that_is_there_stays(tmp_path: Path, early: bool) -> None:
    target = tmp_path / "file"
    if early:
        target.write_bytes(b"first")
    with pytest.raises(FileExistsError), new_file(target):
        target.write_bytes(b"first")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_written_key_can_be_read() -> None:
    text = write_key()
    assert len(parse_key(f"  {text}\n")) == 32
    assert parse_key(text) == parse_key(text.strip()) != parse_key(write_key())


@pytest.mark.parametrize("text", ["", "\n", "karibu", "a" * 44, "é", "ab12" * 10, "0" * 9000])
def test_what_is_no_key_is_refused_by_the_name_of_its_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ValueError, match="not"):
        parse_key(text)
    with pytest.raises(MisconfiguredError, match=f"{file} holds no master key") as refused:
        masterkey.read(file)
    with pytest.raises(BackupError, match=f"{file} holds no key for backups"):
        read_key_file(file)
    assert len(text) < 6 or text.strip() not in str(refused.value)


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisconfiguredError, match="none cannot be read: No such file"):
        masterkey.read(tmp_path / "none")
    with pytest.raises(BackupError, match="none cannot be read: No such file"):
        read_key_file(tmp_path / "none")
