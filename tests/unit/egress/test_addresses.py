"""Which addresses may be called: the public internet, and what the operator lists."""

from ipaddress import ip_address

import pytest

from flowhq.egress.addresses import Reach, is_public, unwrapped
from flowhq.egress.urls import URL_MAX, check_url
from flowhq.errors import EgressRefusedError
from tests.unit.egress.corpus import INSIDE_LITERALS, ODD_LITERALS

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
PUBLIC += ["64:ff9b::808:808", "2002:808:808::1", "100.128.0.1", "192.0.1.1", "223.255.255.255"]

URLS = {
    "ftp://example.org/": "https",
    "http://example.org/": "https",
    "file:///etc/passwd": "https",
    "gopher://example.org/": "https",
    "example.org": "https",
    "//example.org/x": "https",
    "https://": "host",
    "https:///path": "host",
    "https://user@example.org/": "user",
    "https://user:secret@example.org/": "user",
    "https://:secret@example.org/": "user",
    "https://@example.org/": "user",
    "https://example.org\\@127.0.0.1/": "backslashes",
    "https://exam ple.org/": "spaces",
    "https://example.org/\r\nHost: x": "control",
    "https://example.org/" + "a" * URL_MAX: "longer",
    "https://[::1": "URL",
    "https://example.org:99999/": "URL",
}


@pytest.mark.parametrize("text", INSIDE_LITERALS)
def test_what_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    with pytest.raises(EgressRefusedError, match="public internet"):
        Reach().check(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_let_through(text: str) -> None:
    assert is_public(ip_address(text))
    Reach().check(text)


@pytest.mark.parametrize("text", ODD_LITERALS)
def test_an_address_in_another_notation_is_no_address(text: str) -> None:
    with pytest.raises(EgressRefusedError, match="not taken"):
        Reach().check(text)


@pytest.mark.parametrize("text", ["::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1"])
def test_an_address_inside_another_is_what_counts(text: str) -> None:
    assert str(unwrapped(ip_address(text))) == "10.1.2.3"
    Reach.of(["10.1.0.0/16"]).check(text)


def test_only_the_networks_that_are_listed_open() -> None:
    reach = Reach.of(["10.1.0.0/16", "fd00:1::/32"])
    reach.check("10.1.255.1")
    reach.check("fd00:1::7")
    for closed in ("10.2.0.1", "127.0.0.1", "fd00:2::7", "169.254.169.254"):
        with pytest.raises(EgressRefusedError):
            reach.check(closed)


@pytest.mark.parametrize(("text", "word"), URLS.items())
def test_a_url_that_is_not_taken_says_why(text: str, word: str) -> None:
    with pytest.raises(EgressRefusedError, match=word) as refusal:
        check_url(text, Reach())
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("text", ODD_LITERALS)
def test_a_host_that_some_read_as_an_address_is_refused_unseen(text: str) -> None:
    with pytest.raises(EgressRefusedError):
        check_url(f"https://{text}/", Reach())


def test_a_good_url_keeps_all_but_its_fragment() -> None:
    url = check_url("https://Example.org:8443/a%20b?c=d#e", Reach())
    assert str(url) == "https://example.org:8443/a%20b?c=d"
    assert check_url("http://example.org/", Reach(), allow_http=True).scheme == "http"
