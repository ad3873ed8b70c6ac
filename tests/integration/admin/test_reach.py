"""From beyond loopback: TLS, a proxy in front, names, and how often one may ask."""

import datetime
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flowhq.admin.server import AdminServer, tls_context
from flowhq.config import AdminSettings
from flowhq.errors import MisconfiguredError
from tests.fakes.admin import FakeAudit, FakeFleet
from tests.integration.admin.conftest import Api

PROXIED = {
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "flow.example.com",
}


class TestBehindAProxy:
    @pytest.fixture
    def settings(self, settings: AdminSettings) -> AdminSettings:
        update = {
            "behind_proxy": True,
            "trusted_proxies": ("127.0.0.1",),
            "allowed_hosts": ("flow.example.com",),
        }
        return settings.model_copy(update=update)

    async def test_the_audit_and_the_throttle_see_the_client(
        self, api: Api, audit: FakeAudit
    ) -> None:
        body = {"name": "Duka", "phone_number": "+255700000001"}
        answer = await api.call("POST", "/admin/tenants", json=body, headers=PROXIED)
        assert answer.status == 201
        assert [row.entry.address for row in audit.entries.values()] == ["192.0.2.7"]

    async def test_origin_is_the_name_outside(self, api: Api, fleet: FakeFleet) -> None:
        path = f"/admin/tenants/{await api.create()}/pause"
        for origin, status in (
            ("https://flow.example.com", 200),
            ("http://flow.example.com", 403),
            (api.base, 403),
        ):
            answer = await api.call("POST", path, headers=PROXIED | {"Origin": origin})
            assert answer.status == status, origin

    async def test_only_names_of_the_settings_are_answered(self, api: Api) -> None:
        for name, status in (
            ("flow.example.com", 200),
            ("flow.example.com:443", 200),
            ("evil.example", 421),
            ("flow.example.com.evil.example", 421),
        ):
            answer = await api.call("GET", "/health", headers={"X-Forwarded-Host": name})
            assert answer.status == status, name


class TestLimits:
    @pytest.fixture
    def settings(self, settings: AdminSettings) -> AdminSettings:
        return settings.model_copy(update={"requests_per_s": 0.01, "requests_burst": 3})

    async def test_too_many_requests_are_told_to_wait(self, api: Api) -> None:
        answers = [await api.call("GET", "/admin/tenants") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[-1].kind == "too-many-requests"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 100
        assert (await api.call("GET", "/health")).status == 200


def pair(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flow")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "cert.pem", folder / "key.pem"


class TestTls:
    @pytest.fixture
    def settings(self, settings: AdminSettings, tmp_path: Path) -> AdminSettings:
        cert, key = pair(tmp_path)
        return settings.model_copy(update={"tls_cert": str(cert), "tls_key": str(key)})

    @pytest.fixture
    async def api(self, server: AdminServer, tmp_path: Path) -> AsyncIterator[Api]:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Api(session, server.url)

    async def test_the_api_speaks_https(self, api: Api) -> None:
        assert api.base.startswith("https://127.0.0.1:")
        tenant_id = await api.create()
        path = f"/admin/tenants/{tenant_id}/pause"
        own = {"Origin": api.base}
        assert (await api.call("POST", path, headers=own)).status == 200
        clear = {"Origin": api.base.replace("https", "http")}
        assert (await api.call("POST", path, headers=clear)).status == 403


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    cert, _ = pair(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, foreign_key = pair(other)
    for key in (str(foreign_key), "/nowhere/key.pem"):
        settings = AdminSettings(tls_cert=str(cert), tls_key=key)
        with pytest.raises(MisconfiguredError, match="certificate") as refused:
            tls_context(settings)
        assert "tls_key" in refused.value.next_step
