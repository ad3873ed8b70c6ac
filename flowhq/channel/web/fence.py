"""What a tenant's page may fetch: its own host, and for WhatsApp also its scripts and media."""

import re
from urllib.parse import urlsplit

import structlog
from playwright.async_api import Route

log = structlog.get_logger(__name__)

# WhatsApp serves its scripts and media from these; every other host is refused.
WHATSAPP_HOSTS = ("whatsapp.com", "whatsapp.net")


def foreign(host: str) -> re.Pattern[str]:
    """Urls of hosts that the page has no business with. Both Python and JavaScript read it."""
    if f".{host}".endswith(tuple(f".{name}" for name in WHATSAPP_HOSTS)):
        own = "|".join(rf"(?:[^/@?#]*\.)?{re.escape(name)}" for name in WHATSAPP_HOSTS)
    else:
        own = re.escape(f"[{host}]" if ":" in host else host)
    return re.compile(rf"^https?://(?!(?:{own})(?:[:/?#]|$))", re.IGNORECASE)


async def refuse(route: Route) -> None:
    """A navigation that is "aborted" leaves the present document where it is."""
    leaving = route.request.is_navigation_request()
    log.debug("request refused", host=urlsplit(route.request.url).hostname, leaving=leaving)
    await route.abort("aborted" if leaving else "blockedbyclient")
