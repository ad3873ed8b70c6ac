"""What the WhatsApp Web channel is told by its composer: plain values, checked elsewhere."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

DEFAULT_USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/{major}.0.0.0 Safari/537.36"
)
"""``{major}`` becomes the version of the browser that is really started, so that the page is not
told of features that are not there. Never HeadlessChrome: WhatsApp turns that away."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Settings of all channels of one daemon.

    ``url``: the page, https or http on a loopback address. ``chromium``: a path, or "" to look
    for one. ``user_agent``: "" is our own. ``launch_timeout_s``: a browser's start and the page's
    first answer, each. ``concurrent_starts``: browsers that may be starting at the same time.
    ``device_name``: what the phone shows in its list of linked devices. ``event_buffer``: events
    of one tenant that wait for their reader before EventsDropped; ``event_buffer_total``: of all.
    """

    url: str
    profiles_dir: Path
    chromium: str = ""
    user_agent: str = ""
    extra_args: tuple[str, ...] = ()
    launch_timeout_s: float = 60.0
    send_timeout_s: float = 20.0
    probe_timeout_s: float = 10.0
    concurrent_starts: int = 2
    device_name: str = "Flow HQ"
    event_buffer: int = 500
    event_buffer_total: int = 20_000

    @property
    def host(self) -> str:
        """The only host that the page may be on, without port, in lower case."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS
