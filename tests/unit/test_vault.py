"""What is sealed opens at its own place with its own key, and nowhere else."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowhq.errors import SealedError
from flowhq.model import TenantId
from flowhq.vault import KEY_BYTES, VERSION, DataKey, MasterKey, Vault

ASHA, JUMA = TenantId(uuid4()), TenantId(uuid4())
PLACE = {"column": "webhooks.secret", "row": "7"}
SECRET = "whsec_siri-kubwa"


@pytest.fixture
def key() -> DataKey:
    return DataKey.make(ASHA)


def master(byte: bytes = b"m") -> MasterKey:
    return MasterKey(byte * KEY_BYTES)


@given(text=st.text())
def test_whatever_is_sealed_comes_back(text: str) -> None:
    key = DataKey.make(ASHA)
    assert key.open(key.seal(text, **PLACE), **PLACE) == text


def test_two_seals_of_one_text_differ_and_show_nothing_of_it(key: DataKey) -> None:
    one, other = key.seal(SECRET, **PLACE), key.seal(SECRET, **PLACE)
    assert one != other
    assert one[:1] == VERSION
    assert SECRET.encode() not in one + other


@pytest.mark.parametrize(
    "place",
    [
        {"column": "webhooks.secret", "row": "8"},
        {"column": "webhooks.url", "row": "7"},
        {"column": "webhooks.secret7", "row": ""},
    ],
)
def test_it_opens_at_no_other_place(key: DataKey, place: dict[str, str]) -> None:
    with pytest.raises(SealedError, match=place["column"]):
        key.open(key.seal(SECRET, **PLACE), **place)


@pytest.mark.parametrize("owner", [JUMA, None])
def test_it_opens_for_nobody_else_even_with_the_same_key(
    key: DataKey, owner: TenantId | None
) -> None:
    sealed = key.seal(SECRET, **PLACE)
    with pytest.raises(SealedError):
        DataKey.make(ASHA).open(sealed, **PLACE)
    if owner is not None:
        same_key = DataKey.taken(key.carried(), owner)
        with pytest.raises(SealedError, match=str(owner)):
            same_key.open(sealed, **PLACE)


def test_every_altered_byte_and_every_cut_is_noticed(key: DataKey) -> None:
    sealed = key.seal("siri", **PLACE)
    for at in range(len(sealed)):
        for broken in (sealed[:at], sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]):
            with pytest.raises(SealedError, match=str(ASHA)) as refused:
                key.open(broken, **PLACE)
            assert refused.value.next_step
            assert "siri" not in str(refused.value)


def test_the_version_of_a_newer_program_is_named(key: DataKey) -> None:
    sealed = b"\x02" + key.seal(SECRET, **PLACE)[1:]
    with pytest.raises(SealedError, match="this version does not know"):
        key.open(sealed, **PLACE)


def test_a_data_key_is_unwrapped_by_its_master_key_for_its_owner_alone(key: DataKey) -> None:
    wrapped = key.wrapped_by(master())
    sealed = key.seal(SECRET, **PLACE)
    assert master().unwrap(wrapped, ASHA).open(sealed, **PLACE) == SECRET
    for other, owner in ((master(b"x"), ASHA), (master(), JUMA), (master(), None)):
        with pytest.raises(SealedError, match="master_key_file"):
            other.unwrap(wrapped, owner)


def test_keys_have_names_that_tell_them_apart_and_no_repr_shows_one(key: DataKey) -> None:
    one, other = master(), master(b"x")
    assert one.key_id == master().key_id != other.key_id
    shown = repr((one, key, Vault(one, key))) + one.key_id
    assert "mmmm" not in shown
    assert key.carried() not in shown
