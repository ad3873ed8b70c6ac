"""What the simulator serves to browsers."""

import asyncio
import re
import ssl
from pathlib import Path

import orjson
import pytest
from cryptography import x509

from flowhq.simulator import pages
from tests.integration.simulator.conftest import Bench


@pytest.fixture
def page_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of the test's own, beside a file that must not be served."""
    directory = tmp_path / "page"
    (directory / "modules").mkdir(parents=True)
    (directory / "index.html").write_text(
        '<script nonce="__NONCE__" type="application/json">__SETTINGS__</script>'
        '<script nonce="__NONCE__"></script>'
    )
    (directory / "modules" / "loader.js").write_text("'use strict';")
    (directory / "notes.txt").write_text("not for the browser")
    (tmp_path / "secret.js").write_text("outside")
    monkeypatch.setattr(pages, "PAGE_DIR", directory)
    return directory


@pytest.mark.parametrize("path", ["/", "/?post_logout=1&logout_reason=0"])
async def test_the_page_has_one_nonce_that_its_policy_names(
    bench: Bench, page_dir: Path, path: str
) -> None:
    nonces = set()
    for _ in range(2):
        async with bench.session.get(bench.url + path) as response:
            assert response.status == 200
            policy, text = response.headers["Content-Security-Policy"], await response.text()
        (nonce,) = set(re.findall(r'nonce="([^"]+)"', text))
        assert f"'nonce-{nonce}'" in policy
        assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval'", "")
        nonces.add(nonce)
    assert len(nonces) == 2


async def test_the_page_is_told_its_settings_and_they_cannot_break_out(
    bench: Bench, page_dir: Path
) -> None:
    await bench.control("config", csp=False, minified_key=True, drop_modules=["</script><b>"])
    async with bench.session.get(bench.url) as response:
        assert "Content-Security-Policy" not in response.headers
        text = await response.text()
    settings = orjson.loads(text.partition('json">')[2].partition("</script>")[0])
    assert settings["minified_key"] is True
    assert settings["drop_modules"] == ["</script><b>"]


async def test_a_headless_browser_is_refused_when_asked_for(bench: Bench, page_dir: Path) -> None:
    headless = {"User-Agent": "Mozilla/5.0 HeadlessChrome/140.0.0.0"}
    async with bench.session.get(bench.url, headers=headless) as response:
        assert "nonce=" in await response.text()
    await bench.control("config", refuse_headless=True)
    async with bench.session.get(bench.url, headers=headless) as response:
        text = await response.text()
    assert "WhatsApp works with Google Chrome" in text
    assert "<script" not in text


async def test_files_of_the_page_are_served_and_nothing_else(bench: Bench, page_dir: Path) -> None:
    async with bench.session.get(f"{bench.url}/sim/modules/loader.js") as response:
        assert (response.status, response.content_type) == (200, "text/javascript")
    for path in (
        "/sim/../secret.js",
        "/sim/%2e%2e/secret.js",
        "/sim/..%2fsecret.js",
        "/sim/modules",
        "/sim/notes.txt",
        "/sim/none.js",
        "/sim/%00.js",
        "/sim//etc/passwd",
        "/phone/../__main__.py",
    ):
        async with bench.session.get(bench.url + path) as response:
            assert response.status == 404, path


async def test_the_phone_page_allows_only_its_own_files(bench: Bench) -> None:
    async with bench.session.get(f"{bench.url}/phone") as response:
        assert response.status == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        text = await response.text()
    assert not re.search(r"https?://|<script>|style=|\son[a-z]+=", text)
    for path in re.findall(r'(?:src|href)="(/phone/[^"]+)"', text):
        async with bench.session.get(bench.url + path) as response:
            assert response.status == 200, path


async def test_the_certificate_is_made_for_whatsapp(bench: Bench) -> None:
    host, _, port = bench.tls_url.removeprefix("https://").partition(":")
    pem = await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)), timeout=30)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "web.whatsapp.com" in names.get_values_for_type(x509.DNSName)
