"""ETags: no change that somebody else made is lost, nothing known is sent again.

A tag has two halves, ``"<version>.<state>"``. The version changes with what a client can change:
If-Match looks at it alone, so that a heartbeat of a tenant refuses nobody's change. The state
changes with anything of the answer: If-None-Match looks at the whole.
"""

import hashlib
import re
from collections.abc import Collection

from aiohttp import web

from flowhq.admin.problems import FieldError, invalid

MATCHES_MAX = 16
# One tag, several, or the star; for the description alone.
TAGS_PATTERN = r'\*|"[!#-+\--~]{1,128}"(, ?"[!#-+\--~]{1,128}"){0,15}'
_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e]{0,128})"')


def etag(version: str, answer: bytes) -> str:
    """The tag of an answer with this version of what it is about."""
    return f'"{version}.{hashlib.sha256(answer).hexdigest()[:16]}"'


def read_if_match(request: web.Request) -> Collection[str] | None:
    """The versions that a change may be made to; None for any."""
    tags = _read_tags(request, "If-Match")
    return None if tags is None else {tag.partition(".")[0] for tag in tags}


def refuse_if_match(request: web.Request) -> None:
    """ProblemError (400) for If-Match where nothing has a version: a client that sends it counts on
    a change that is made under that condition alone."""
    if "If-Match" in request.headers:
        raise invalid(FieldError("If-Match", "is not taken here: this has no version."))


def is_known(request: web.Request, tag: str) -> bool:
    """Whether the client has this answer already."""
    if "If-None-Match" not in request.headers:
        return False
    tags = _read_tags(request, "If-None-Match")
    return tags is None or tag.strip('"') in tags


def _read_tags(request: web.Request, header: str) -> Collection[str] | None:
    """The tags without their quotes; None without the header, and for ``*``."""
    text = ",".join(request.headers.getall(header, ["*"])).strip()
    if text == "*":
        return None
    tags = [_TAG.fullmatch(part.strip()) for part in text.split(",", MATCHES_MAX)]
    if len(tags) > MATCHES_MAX or not all(tags):
        raise invalid(FieldError(header, 'must be an ETag such as "ab.cd", several, or *.'))
    return {tag[1] for tag in tags if tag}
