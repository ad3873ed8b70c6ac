"""The one script of a document: checked, complete, and with its own names."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flowhq.channel.web import script
from flowhq.channel.web.fence import foreign
from flowhq.channel.web.settings import WebSettings
from flowhq.errors import MisconfiguredError


def settings(url: str = "https://web.whatsapp.com/") -> WebSettings:
    return WebSettings(url=url, profiles_dir=Path("unused"), device_name='D "x" </script>')


def vendor(folder: Path, text: str, sha256: str | None = None) -> Path:
    (folder / script.BUNDLE).write_text(text)
    digest = sha256 or hashlib.sha256(text.encode()).hexdigest()
    (folder / script.MANIFEST).write_text(json.dumps({"files": {script.BUNDLE: digest}}))
    return folder


def test_the_built_in_bundle_is_the_released_one() -> None:
    digest = hashlib.sha256(script.load_bundle().encode()).hexdigest()
    assert digest == "5bfb88027f14a4d8c9e319374e8bb4083201906881cf8c74f75789b32e4106bd"


def test_a_bundle_is_taken_only_with_the_hash_of_its_manifest(tmp_path: Path) -> None:
    assert script.load_bundle(vendor(tmp_path, "WPP")) == "WPP"
    (tmp_path / script.BUNDLE).write_text("WPP;evil()")
    with pytest.raises(MisconfiguredError, match="sha256 differs"):
        script.load_bundle(tmp_path)


@pytest.mark.parametrize("manifest", [None, "", "{}", "[]", '{"files": 5}', '{"files": {}}'])
def test_an_installation_without_its_parts_says_so(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / script.BUNDLE).write_text("WPP")
    if manifest is not None:
        (tmp_path / script.MANIFEST).write_text(manifest)
    with pytest.raises(MisconfiguredError, match="missing") as missing:
        script.load_bundle(tmp_path)
    assert missing.value.next_step


def test_the_script_is_one_scope_with_the_settings_before_the_bundle() -> None:
    built = script.build(settings(), "/* the bundle */")
    assert built.source.startswith("(() => {")
    assert built.source.rstrip().endswith("})();")
    order = [
        built.source.index(words)
        for words in ("window.top !== window", "WPPConfig", "/* the bundle */", "hook();")
    ]
    assert order == sorted(order)
    found = re.search(r"WPPConfig = (.*);\n", built.source)
    assert found is not None
    assert json.loads(found[1]) == {
        "deviceName": 'D "x" </script>',
        "disableGoogleAnalytics": True,
        "googleAnalyticsId": None,
        "linkPreviewApiServers": [],
        "poweredBy": None,
        "syncAllStatus": False,
    }


def test_each_start_has_names_of_its_own() -> None:
    first, second = (script.build(settings(), "") for _ in range(2))
    names = {first.binding, first.handle, second.binding, second.handle}
    assert len(names) == 4
    assert all(re.fullmatch(r"_[0-9a-f]{16}", name) for name in names)
    assert first.binding in first.source
    assert first.handle in first.source


def test_the_script_is_javascript(tmp_path: Path) -> None:
    node = shutil.which("node") or str(Path(playwright_node()))
    path = tmp_path / "script.js"
    path.write_text(script.build(settings(), script.load_bundle()).source)
    checked = subprocess.run([node, "--check", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def playwright_node() -> Path:
    import playwright

    return Path(playwright.__file__).parent / "driver" / "node"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://web.whatsapp.com/", '"host": "web.whatsapp.com"'),
        ("http://127.0.0.1:8790/", '"host": "127.0.0.1"'),
        ("http://[::1]:8790/", '"host": "[::1]"'),
    ],
)
def test_the_guard_has_the_host_as_a_browser_writes_it(url: str, host: str) -> None:
    assert host in script.build(settings(url), "").source


@pytest.mark.parametrize(
    "url",
    [
        "https://web.whatsapp.com/",
        "https://static.whatsapp.net/rsrc.php/x.js",
        "https://media-jnb2-1.cdn.whatsapp.net/v/t62?ccb=1",
        "wss://web.whatsapp.com/ws/chat",
        "data:text/html,x",
        "https://whatsapp.net:443/x",
    ],
)
def test_whatsapps_own_hosts_are_allowed(url: str) -> None:
    assert not foreign("web.whatsapp.com").search(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.google-analytics.com/collect",
        "https://whatsapp.com.evil.example/",
        "https://evilwhatsapp.com/",
        "https://evil.example/whatsapp.com",
        "https://evil.example?whatsapp.com/",
        "https://evil.example#.whatsapp.com/",
        "https://web.whatsapp.com@evil.example/",
        "http://EVIL.example/",
    ],
)
def test_other_hosts_are_foreign(url: str) -> None:
    assert foreign("web.whatsapp.com").search(url)


def test_a_local_page_has_one_host_only() -> None:
    assert not foreign("127.0.0.1").search("http://127.0.0.1:8790/x")
    assert not foreign("::1").search("http://[::1]:8790/x")
    assert foreign("127.0.0.1").search("http://127.0.0.1.evil.example/")
    assert foreign("127.0.0.1").search("https://web.whatsapp.com/")
