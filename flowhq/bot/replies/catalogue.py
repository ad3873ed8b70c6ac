"""The texts and words of the bot, read from the TOML files beside this module.

``Catalogues.load()`` reads them once; whoever builds responders keeps the object and hands it on.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from flowhq.bot.keywords import Vocabulary
from flowhq.model import Language

PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)\}")


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template with every ``${dotted.name}`` replaced, in one pass: what a value contains is
    never looked at again. KeyError for a name without a value; any other ``$`` is itself."""
    return PLACEHOLDER.sub(lambda match: str(values[match[1]]), template)


def placeholders(template: str) -> frozenset[str]:
    """The names that a template needs."""
    return frozenset(PLACEHOLDER.findall(template))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every text of one language, by dotted key."""

    language: Language
    texts: Mapping[str, str]

    def say(self, key: str, **values: object) -> str:
        """The text of a key with its values filled in. KeyError if either is missing."""
        return fill(self.texts[key], values)


@dataclass(frozen=True, slots=True)
class Catalogues:
    """Both languages' texts and the words that customers use. Immutable, shared by all tenants."""

    by_language: Mapping[Language, Catalogue]
    vocabulary: Vocabulary

    @classmethod
    def load(cls) -> "Catalogues":
        """Read the package's files, about 20 ms: once per process."""
        return cls(
            by_language=MappingProxyType(
                {
                    language: Catalogue(
                        language,
                        MappingProxyType(dict(_flatten(_read(f"{language.lower()}.toml")))),
                    )
                    for language in Language
                }
            ),
            vocabulary=Vocabulary.from_mapping(_read("keywords.toml")),
        )

    def of(self, language: Language) -> Catalogue:
        return self.by_language[language]


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files("flowhq.bot.replies").joinpath(name).read_text(encoding="utf-8"))


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, str):
            yield prefix + key, value
        else:
            yield from _flatten(value, f"{prefix}{key}.")
