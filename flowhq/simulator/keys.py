"""The key of a linked page: ECDSA on P-256, as WebCrypto exports and signs."""

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

_COORDINATE_BYTES = 32


def _load(spki: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    return None


def is_p256_key(spki: bytes) -> bool:
    return _load(spki) is not None


def is_signed(spki: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` (r and s, 32 bytes each) is one with SHA-256 over `data`."""
    key = _load(spki)
    if key is None or len(signature) != 2 * _COORDINATE_BYTES:
        return False
    r = int.from_bytes(signature[:_COORDINATE_BYTES])
    s = int.from_bytes(signature[_COORDINATE_BYTES:])
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
