"""The proof of a linked page."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flowhq.simulator import keys

KEY = ec.generate_private_key(ec.SECP256R1())


def spki(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(data: bytes) -> bytes:
    r, s = decode_dss_signature(KEY.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def test_the_right_signature_is_accepted_and_every_other_refused() -> None:
    signature = sign(b"nonce")
    assert keys.is_signed(spki(KEY), b"nonce", signature)
    assert not keys.is_signed(spki(KEY), b"other", signature)
    assert not keys.is_signed(spki(KEY), b"nonce", signature[:-1])
    assert not keys.is_signed(spki(KEY), b"nonce", bytes(64))
    assert not keys.is_signed(spki(KEY), b"nonce", b"\xff" * 64)
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    assert not keys.is_signed(other, b"nonce", signature)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        spki(ec.generate_private_key(ec.SECP384R1())),
        spki(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["nothing", "junk", "another curve", "another kind"],
)
def test_only_p256_keys_are_keys(data: bytes) -> None:
    assert keys.is_p256_key(spki(KEY))
    assert not keys.is_p256_key(data)
    assert not keys.is_signed(data, b"nonce", sign(b"nonce"))
