"""The URLs that may be called at all: what can be said before any name is looked up."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from yarl import URL

from flowhq.egress.addresses import Reach
from flowhq.errors import EgressRefusedError

# Browsers and proxies agree on about this much.
URL_MAX = 2_000
# Spaces, control characters and backslashes are read differently by different parsers.
_ODD = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
# A host whose last part is a number is an IPv4 address to some programs: 2130706433, 0x7f.1, 0177.1
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")


def check_url(text: str, reach: Reach, *, allow_http: bool = False) -> URL:
    """The URL to call, without its fragment. EgressRefusedError says what is wrong with it.

    A name is not looked up here: where it leads is checked when the connection is made.
    """
    if len(text) > URL_MAX:
        raise EgressRefusedError(f"The URL is longer than {URL_MAX} characters.")
    if _ODD.search(text):
        raise EgressRefusedError("The URL holds spaces, control characters or backslashes.")
    try:
        url = URL(text).with_fragment(None)
        host = url.raw_host or ""
    except (ValueError, TypeError) as error:
        raise EgressRefusedError("This is not a URL.") from error
    if url.scheme not in (("https", "http") if allow_http else ("https",)):
        raise EgressRefusedError(
            "The URL must begin with https://.",
            next_step="An operator can allow plain http with [egress] allow_http.",
        )
    if "@" in urlsplit(text).netloc:
        raise EgressRefusedError("The URL must not hold a user or a password.")
    if not host:
        raise EgressRefusedError("The URL has no host.")
    _check_host(host, reach)
    return url


def _check_host(host: str, reach: Reach) -> None:
    try:
        ip_address(host)
    except ValueError:
        if _NUMERIC_END.fullmatch(host):
            raise EgressRefusedError(
                "The address is written in a way that is not taken.",
                next_step="Write it in the usual form, such as 192.0.2.7.",
            ) from None
        return
    reach.check(host)
