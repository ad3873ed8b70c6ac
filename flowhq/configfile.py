"""Settings as they are written: config.toml and the environment, read into one Config.

Either that or one list of mistakes, each with its place. Order of precedence: environment, file,
default. Nothing here opens anything but the files it is pointed at.
"""

import difflib
import json
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flowhq.config import ENV_PREFIX, SECTIONS, Config, Section, env_name
from flowhq.errors import ConfigError, ConfigProblem

# Names under the prefix that are not settings: where the file is, and what the tests use.
ENV_OTHER = ("FLOWHQ_CONFIG", "FLOWHQ_TEST_")


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as somebody wrote it: where, and the folder its relative paths count from."""

    value: Any
    where: str
    base: Path


class _Reading:
    """What was found so far: the values by section and key, and every mistake."""

    def __init__(self) -> None:
        self.given: dict[str, dict[str, _Given]] = {name: {} for name in SECTIONS}
        self.problems: list[ConfigProblem] = []

    def complain(self, where: str, key: str, message: str) -> None:
        self.problems.append(ConfigProblem(where, key, message))


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The settings of the file (None: no file) under those of the environment.

    Raises ConfigError with every mistake of both. Relative paths count from the file's folder,
    those in the environment and the defaults without a file from the working directory.
    """
    reading = _Reading()
    if path is not None:
        _read_file(path, reading)
    _read_environment(environ, reading)
    base = path.resolve().parent if path is not None else Path.cwd()
    sections = {name: _build(name, reading, base) for name in SECTIONS}
    if reading.problems:
        raise ConfigError(
            reading.problems, next_step="Every setting is explained in docs/configuration.md."
        )
    return Config.model_validate({"file": path, **sections})


def env_names() -> dict[str, tuple[str, str]]:
    """Every variable that can be set, with its section and key; _FILE ones for the secrets."""
    names = {}
    for section, model in SECTIONS.items():
        for key in model.model_fields:
            names[env_name(section, key)] = (section, key)
        for key in model.secret_keys:
            names[f"{env_name(section, key)}_FILE"] = (section, key)
    return names


def _read_file(path: Path, reading: _Reading) -> None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reading.complain(str(path), "", f"cannot be read: {error.strerror}.")
        return
    except UnicodeDecodeError:
        reading.complain(str(path), "", "is not UTF-8 text.")
        return
    except tomllib.TOMLDecodeError as error:
        reading.complain(str(path), "", f"is not TOML: {error}.")
        return
    base = path.resolve().parent
    for section, values in document.items():
        if section not in SECTIONS:
            reading.complain(str(path), section, f"unknown section{_hint(section, SECTIONS)}")
        elif not isinstance(values, dict):
            reading.complain(str(path), section, f"must be a section: [{section}].")
        else:
            for key, value in values.items():
                reading.given[section][key] = _Given(value, str(path), base)


def _read_environment(environ: Mapping[str, str], reading: _Reading) -> None:
    names = env_names()
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) or name.startswith(ENV_OTHER):
            continue
        if name not in names:
            reading.complain(name, "", f"no such setting{_hint(name, names)}")
            continue
        section, key = names[name]
        text: str | None = environ[name]
        if name.endswith("_FILE") and f"{name.removesuffix('_FILE')}" in names:
            if name.removesuffix("_FILE") in environ:
                reading.complain(name, f"{section}.{key}", "set by value and by file: keep one.")
                continue
            text = _read_secret(name, f"{section}.{key}", environ[name], reading)
        if text is not None:
            _take(name, section, key, text, reading)


def _read_secret(name: str, key: str, path: str, reading: _Reading) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        reading.complain(name, key, f"the file cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        reading.complain(name, key, "the file is not UTF-8 text.")
    return None


def _take(name: str, section: str, key: str, text: str, reading: _Reading) -> None:
    """Turns a variable's text into the setting's type; numbers and lists as they are written."""
    annotation = SECTIONS[section].model_fields[key].annotation
    try:
        value: Any = text
        if annotation in (bool, int, float):
            value = TypeAdapter[Any](annotation).validate_strings(text)
        elif annotation == tuple[str, ...]:
            value = json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValidationError as error:
        reading.complain(name, f"{section}.{key}", _sentence(error.errors()[0]["msg"]))
    except ValueError:
        reading.complain(name, f"{section}.{key}", "must be words, or a JSON list of strings.")
    else:
        reading.given[section][key] = _Given(value, name, Path.cwd())


def _build(section: str, reading: _Reading, base: Path) -> Section | None:
    """The section's model, None if it has mistakes; they are all in ``reading`` then."""
    model = SECTIONS[section]
    given = reading.given[section]
    values: dict[str, Any] = {}
    for key, item in given.items():
        if key not in model.model_fields:
            hint = _hint(key, model.model_fields)
            reading.complain(item.where, f"{section}.{key}", f"unknown setting{hint}")
        else:
            values[key] = _prepared(item, model.model_fields[key].annotation)
    for key, field in model.model_fields.items():
        if field.annotation is Path and key not in values:
            values[key] = base / field.get_default()
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for mistake in error.errors(include_input=False, include_url=False):
            key = str(mistake["loc"][0])
            where = given[key].where if key in given else _where_of(given.values())
            reading.complain(where, f"{section}.{key}", _sentence(mistake["msg"]))
        return None


def _prepared(item: _Given, annotation: Any) -> Any:
    """What TOML and the environment cannot spell: paths, and lists that never change."""
    if annotation == (Path | None) and item.value == "":
        return None
    if annotation in (Path, Path | None) and isinstance(item.value, str) and item.value.strip():
        return item.base / Path(item.value).expanduser()
    if isinstance(item.value, list):
        return tuple(item.value)
    return item.value


def _where_of(items: Iterable[_Given]) -> str:
    """Where a mistake between two settings was made when one of them is a default."""
    return ", ".join(sorted({item.where for item in items}))


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ").replace("Input should be", "must be")
    message = message.replace("an instance of Path", "a path")
    return f"{message}."


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f": did you mean {close[0]}?" if close else "."
