"""The documents about settings are true: every setting, its variable, default and bounds."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from flowhq import config, configfile

ROOT = Path(__file__).parents[2]
KEYS = [(section, key) for section, model in config.SECTIONS.items() for key in model.model_fields]
ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| `(.*?)` \| (.*?) \| (.*) \|$", re.MULTILINE)


def settings_file() -> dict[str, dict[str, Any]]:
    return tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))


def rows() -> dict[str, tuple[str, str, str, str]]:
    """By variable: key, default, what is allowed, meaning."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    found = ROW.findall(text)
    assert len({variable for _, variable, *_ in found}) == len(found)
    return {
        variable: (key, default, allowed, about) for key, variable, default, allowed, about in found
    }


def test_the_file_holds_every_setting_and_nothing_else() -> None:
    written = [(section, key) for section, keys in settings_file().items() for key in keys]
    assert sorted(written) == sorted(KEYS)


def test_the_file_holds_the_defaults() -> None:
    from_file = configfile.load(ROOT / "config.toml", {}).model_dump(exclude={"file"})
    defaults = config.Config().model_dump(exclude={"file"})
    for section, key in KEYS:
        default = defaults[section][key]
        if isinstance(default, Path):
            default = ROOT / default
        assert from_file[section][key] == default, f"{section}.{key}"


def test_every_setting_of_the_file_stands_under_a_comment() -> None:
    previous = ""
    for line in (ROOT / "config.toml").read_text(encoding="utf-8").splitlines():
        if re.match(r"\w+ = ", line):
            assert previous.startswith("#") or re.match(r"\w+ = ", previous), line
        previous = line


def test_every_row_of_the_document_is_a_setting() -> None:
    assert set(rows()) == {config.env_name(section, key) for section, key in KEYS}


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_the_document_tells_default_bounds_and_secrecy(section: str, key: str) -> None:
    model = config.SECTIONS[section]
    name, default, allowed, about = rows()[config.env_name(section, key)]
    assert name == key
    assert json.loads(default) == settings_file()[section][key]
    assert ("Secret" in about) == (key in model.secret_keys)
    for bound in model.model_fields[key].metadata:
        for edge in ("ge", "gt", "le", "min_length", "max_length"):
            if hasattr(bound, edge):
                assert str(getattr(bound, edge)) in allowed.replace(",", "").split(), edge
