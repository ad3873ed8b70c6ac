"""A plugin of pytest: whatever is logged while the tests run is searched for what must never be.

Two sorts of log are looked at. Lines of code under test go through the product's own redaction, as
the daemon would write them; files named ``*.log*`` of programs that tests started are read at the
end. Both are searched for every number, text and secret that stands in the tests or goes through
the bot, for sentences of its replies, and for what secrets look like. One hit fails the run.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from flowhq.log import redact
from flowhq.model import InboundMessage, Reply

TESTS = Path(__file__).parent
PRODUCT = TESTS.parent / "flowhq"
CATALOGUES = ("bot/replies/sw.toml", "bot/replies/en.toml")
# What is shorter, or says the same letter over and over, stands in any log by chance.
WORD_MIN, LETTERS_MIN = 8, 5
# A part of a reply between two placeholders that only a reply can be.
SENTENCE_MIN = 20
HITS_SHOWN = 20
LINE_SHOWN = 300

_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\\n|\*")
_SENTENCE = re.compile(r'^[\w-]+ = "(.*)"$', re.MULTILINE)
_QUOTED = r"""["']([^"'\\\n]{8,})["']"""
_KEYED = re.compile(
    r"""\b(?:text|message_text|body|caption|notes|(?:current_|new_)?password|passphrase|secret|token)"""
    rf"""["']?\s*[=:]\s*{_QUOTED}"""
)
_CONSTANT = re.compile(
    rf"^[A-Z_]*(?:PASSWORD|PASSPHRASE|SECRET|TEXT|TOKEN)[A-Z_]*(?:: \w+)? = {_QUOTED}", re.MULTILINE
)
_NUMBER = re.compile(r"\+([1-9]\d{9,14})\b")
# Statements and places to fill in stand under the same names.
_NO_TEXT = re.compile(r"SELECT |\{")
# What is no log of ours: whatever lies in a browser's profile, and what the demo says to the person
# at its terminal.
_PROFILE = "Default"
_NO_LOG = frozenset({"demo.log", "hangup.log"})
_SHAPES = {
    "a phone number": re.compile(rb"(?<![0-9A-Za-z.-])\+?255[67]\d{8}(?!\d)"),
    # What customers write to tenants of daemons that run as programs: the tenant's word, a number.
    "a customer's text": re.compile(
        rb"(?:zuhura|bakari|kichwe|mwanzo|pwani7|tembea|duka\d{4}x)\d\d(?!\d)"
    ),
    "an API token": re.compile(rb"fhq_[0-9a-f]{32}_[\w-]{20}"),
    "a portal key": re.compile(rb"fhp_[\w-]{20}"),
    "a webhook's secret": re.compile(rb"whsec_[\w+/]{20}"),
    "a password's hash": re.compile(rb"\$argon2"),
    "credentials": re.compile(rb"(?i)\b(?:basic|bearer) (?=\S*[0-9=])[\w+/=.~-]{12}"),
    "a signed token": re.compile(rb"\beyJ[\w-]{10,}\.[\w-]{10}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE"),
    "a pairing code": re.compile(rb"data:image/png;base64,|(?<!\w)2@[\w+/=,]{20}"),
    "a session's secret": re.compile(
        rb"(?<![\w/+=.-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{43}(?:[\w-]{21})?(?![\w/+=.-])"
    ),
}


def find_words(tests: Path = TESTS, product: Path = PRODUCT) -> frozenset[bytes]:
    """Numbers, texts and secrets that stand in the tests, and sentences of replies; what the
    product's own source says too cannot be told from its words, and is left out."""
    source = "\n".join(path.read_text() for path in sorted(product.rglob("*.py")))
    words: set[str] = set()
    for path in sorted(tests.rglob("*.py")):
        text = path.read_text()
        for found in (_KEYED, _CONSTANT, _NUMBER):
            words |= set(found.findall(text))
    for name in CATALOGUES:
        for sentence in _SENTENCE.findall((product / name).read_text()):
            parts = (part.strip() for part in _PLACEHOLDER.split(sentence))
            words |= {part for part in parts if len(part) >= SENTENCE_MIN}
    return frozenset(
        word.encode()
        for word in words
        if is_telling(word) and not _NO_TEXT.match(word) and word not in source
    )


def is_telling(word: str) -> bool:
    """Whether nobody else says this by chance."""
    return len(word) >= WORD_MIN and len(set(word)) >= LETTERS_MIN


@dataclass(slots=True)
class Search:
    """What was searched so far, and what was found. ``said`` are texts of the present test."""

    words: frozenset[bytes]
    said: set[bytes] = field(default_factory=set)
    lines: int = 0
    files: int = 0
    hits: list[str] = field(default_factory=list)

    def line(self, line: bytes, where: str) -> None:
        self.lines += 1
        self._look(line, where)

    def file(self, path: Path) -> None:
        self.files += 1
        for line in _suspects(path.read_bytes(), self.words):
            self._look(line, path.name)

    def say(self, text: str) -> None:
        if is_telling(text) and len(self.said) < 1000:
            self.said.add(text.encode("utf-8", "replace"))

    def _look(self, line: bytes, where: str) -> None:
        found = [word for word in self.words if word in line]
        found += [word for word in self.said if word in line]
        names = [word.decode("utf-8", "replace") for word in found]
        names += [what for what, shape in _SHAPES.items() if shape.search(line)]
        if names:
            shown = line[:LINE_SHOWN].decode("utf-8", "replace")
            self.hits.append(f"{where}: {', '.join(sorted(names))} in: {shown}")


def _suspects(content: bytes, words: Iterable[bytes]) -> list[bytes]:
    """The lines of a large file that hold anything: each word is looked for once."""
    found = [word for word in words if word in content]
    shapes = [shape for shape in _SHAPES.values() if shape.search(content)]
    if not (found or shapes):
        return []
    return [
        line
        for line in content.splitlines()
        if any(word in line for word in found) or any(shape.search(line) for shape in shapes)
    ]


# -- what listens ----------------------------------------------------------------------------------


class Listener:
    """A processor of structlog that searches a line as the daemon would write it, and lets it
    pass."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self.test = ""

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        told = structlog.processors.format_exc_info(logger, method, dict(event))
        self.hear(redact(logger, method, told))
        return event

    def hear(self, event: Any) -> None:
        self._search.line(orjson.dumps(event, default=str), self.test)


class Handler(logging.Handler):
    """The same for what libraries log."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = {"event": record.getMessage(), "exc_info": record.exc_info or None}
        except (TypeError, ValueError):
            self.handleError(record)
            return
        self._listener.hear(redact(None, "", structlog.processors.format_exc_info(None, "", told)))


SEARCH = pytest.StashKey[Search]()
LISTENER = pytest.StashKey[Listener]()
FOUND = "logsearch"


def pytest_configure(config: pytest.Config) -> None:
    search = Search(find_words())
    listener = Listener(search)
    config.stash[SEARCH], config.stash[LISTENER] = search, listener
    handler = Handler(listener)
    logging.getLogger().addHandler(handler)
    config.add_cleanup(lambda: logging.getLogger().removeHandler(handler))
    patch = pytest.MonkeyPatch()
    for kind in (InboundMessage, Reply):
        patch.setattr(kind, "__init__", _overheard(kind.__init__, search))
    config.add_cleanup(patch.undo)


def _overheard(make: Any, search: Search) -> Any:
    """The same ``__init__``, with the text told to the search."""

    def init(self: Any, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        search.say(self.text)

    return init


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    listener = item.config.stash[LISTENER]
    listener.test = item.nodeid
    item.config.stash[SEARCH].said.clear()
    if not structlog.is_configured():
        *before, renderer = structlog.get_config()["processors"]
        structlog.configure(processors=[*before, listener, renderer])


@pytest.fixture(scope="session", autouse=True)
def searched_files(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Reads the logs of programs when all of them have ended."""
    yield
    search_folder(request.config, tmp_path_factory.getbasetemp())


def search_folder(config: pytest.Config, folder: Path) -> None:
    """Every log below the folder, rotated ones too."""
    for path in sorted(folder.rglob("*.log*")):
        ours = path.name not in _NO_LOG and _PROFILE not in path.relative_to(folder).parts
        if ours and path.is_file() and not path.is_symlink():
            config.stash[SEARCH].file(path)


# -- what is told ----------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of xdist ended: what it found is ours to tell."""
    found = getattr(node, "workeroutput", {}).get(FOUND)
    if found is not None:
        search = node.config.stash[SEARCH]
        search.lines += found["lines"]
        search.files += found["files"]
        search.hits += found["hits"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    search = session.config.stash[SEARCH]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[FOUND] = {"lines": search.lines, "files": search.files, "hits": search.hits}
    elif search.hits and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    search = config.stash[SEARCH]
    for hit in search.hits[:HITS_SHOWN]:
        terminalreporter.write_line(f"LOGGED {hit}")
    terminalreporter.write_line(
        f"logs: {search.lines} lines and {search.files} files searched for {len(search.words)} "
        f"numbers, texts and secrets: {len(search.hits)} hits"
    )
