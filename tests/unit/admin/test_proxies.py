"""Who is really there: headers of a proxy count from listed ones alone."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from flowhq.admin.problems import ProblemError
from flowhq.admin.proxies import Client, Proxies
from flowhq.config import AdminSettings

BEHIND = AdminSettings(
    behind_proxy=True,
    trusted_proxies=("10.0.0.0/8", "2001:db8::1"),
    allowed_hosts=("flow.example.com",),
)
FORWARDED = {
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "flow.example.com",
}


def request_from(peer: str, *headers: tuple[str, str]) -> web.Request:
    given = CIMultiDict([("Host", "10.0.0.1:8787"), *headers])
    return make_mocked_request("GET", "/health", headers=given).clone(remote=peer)


def client(settings: AdminSettings, peer: str, **headers: str) -> Client:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Proxies(settings).find_client(request_from(peer, *named))


def test_a_listed_proxy_is_believed() -> None:
    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"):
        found = client(BEHIND, peer, **FORWARDED)
        assert found == Client("192.0.2.7", "https", "flow.example.com")


@pytest.mark.parametrize("settings", [AdminSettings(), BEHIND])
def test_nobody_else_is_believed(settings: AdminSettings) -> None:
    found = client(settings, "127.0.0.1", **FORWARDED)
    assert found == Client("127.0.0.1", "http", "10.0.0.1:8787")


def test_without_a_proxy_its_list_means_nothing() -> None:
    settings = AdminSettings(trusted_proxies=("10.0.0.0/8",))
    assert client(settings, "10.0.0.9", **FORWARDED).address == "10.0.0.9"


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 10.0.0.5", "192.0.2.7"),
        ("127.0.0.1, 198.51.100.9, 10.0.0.5", "198.51.100.9"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.0.5", "10.0.0.5"),
        ("192.0.2.7, unknown", "10.0.0.1"),
        ("192.0.2.7, <script>, 10.0.0.5", "10.0.0.5"),
        ("", "10.0.0.1"),
        (",,", "10.0.0.1"),
    ],
)
def test_the_last_that_is_no_proxy_of_ours_is_the_client(chain: str, address: str) -> None:
    assert client(BEHIND, "10.0.0.1", X_Forwarded_For=chain).address == address


def test_what_the_client_sent_ahead_of_the_proxy_is_not_believed() -> None:
    request = request_from(
        "10.0.0.1",
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Host", "localhost, flow.example.com"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https"),
    )
    found = Proxies(BEHIND).find_client(request)
    assert found == Client("192.0.2.7", "https", "flow.example.com")


def test_an_odd_scheme_is_none() -> None:
    assert client(BEHIND, "10.0.0.1", X_Forwarded_Proto="javascript").scheme == "http"


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::2", "11.0.0.1"])
def test_who_goes_round_the_proxy_is_refused(peer: str) -> None:
    with pytest.raises(ProblemError) as refused:
        client(BEHIND, peer, **FORWARDED)
    assert refused.value.kind.name == "wrong-host"
    with_tls = BEHIND.model_copy(update={"tls_cert": "/c.pem", "tls_key": "/k.pem"})
    assert client(with_tls, peer).address == peer
