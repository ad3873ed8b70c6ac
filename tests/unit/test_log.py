"""Logs: what a line carries, what it hides, and the tenants' own files."""

import asyncio
import inspect
import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg.pool
import orjson
import pytest
import structlog

from flowhq import log
from flowhq.config import LoggingSettings

TENANT = UUID("3f2f0f5e-8a55-4d4f-9c52-123456789012")


class Stream(io.BytesIO):
    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.getvalue().splitlines()]


Start = Callable[..., Stream]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Sets logging up into a stream; taken back after the test."""
    handles = []

    def begin(**settings: Any) -> Stream:
        stream = Stream()
        values: dict[str, Any] = {"format": "json", "directory": tmp_path} | settings
        handles.append(log.setup(LoggingSettings(**values), stream))
        return stream

    yield begin
    for handle in handles:
        handle.close()


def tenant_lines(tmp_path: Path, tenant: UUID) -> list[dict[str, Any]]:
    text = (tmp_path / "tenants" / f"{tenant}.log").read_bytes()
    return [orjson.loads(line) for line in text.splitlines()]


def test_a_line_carries_time_level_event_and_context(start: Start) -> None:
    stream = start()
    with structlog.contextvars.bound_contextvars(tenant_id=str(TENANT)):
        structlog.get_logger().warning("worker restarted", attempts=3)
    (line,) = stream.lines()
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "worker restarted",
        "level": "warning",
        "attempts": 3,
        "tenant_id": str(TENANT),
    }


def test_lines_below_the_level_are_not_written(start: Start) -> None:
    stream = start(level="warning")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.access").info("quiet too")
    structlog.get_logger().error("loud")
    assert [line["event"] for line in stream.lines()] == ["loud"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from +255712345678", "from +255…678"),
        ("from 255712345678 now", "from +255…678 now"),
        ("call +255 712 345 678.", "call +255…678."),
        ("255712345678@c.us", "255…678@c.us"),
        ("true_255712345678@c.us_3EB0AB12", "true_255…678@c.us_3EB0AB12"),
        ("255712345678:12@s.whatsapp.net", "255…678:12@s.whatsapp.net"),
        ("100000000012345@lid", "100…345@lid"),
        ("255712345678-1612345678@g.us", "255…678-161…678@g.us"),
        (f"tenant {TENANT}", f"tenant {TENANT}"),
        ("3EB0123456789012345678", "3EB0123456789012345678"),
        ("took 12345678 ns at 0.123456789012", "took 12345678 ns at 0.123456789012"),
        ("Authorization: Basic YWRtaW46c2VjcmV0", "Authorization: Basic [hidden]"),
        ("bearer abc.def-ghi_jkl", "bearer [hidden]"),
        ("postgresql://flow:hunter2@db/x", "postgresql://flow:[hidden]@db/x"),
        ("GET /x?token=abcdef&a=1", "GET /x?token=[hidden]&a=1"),
        ("{'password': 'hunter2'}", "{'password': '[hidden]'}"),
        ("hash $argon2id$v=19$m=1,t=1,p=1$YQ$Yg", "hash [hidden]"),
        ("half a pair \ud83d", "half a pair ?"),
    ],
)
def test_numbers_and_credentials_are_shortened_in_any_text(text: str, expected: str) -> None:
    assert log.scrub(text) == expected


@pytest.mark.parametrize(
    "key",
    ["text", "body", "password", "password_hash", "bot_token", "tokens", "Authorization", "qr"],
)
def test_private_values_are_hidden_by_their_name(start: Start, key: str) -> None:
    stream = start()
    structlog.get_logger().info("x", **{key: "habari yako", "nested": {key: ["habari yako"]}})
    (line,) = stream.lines()
    assert line[key] == log.HIDDEN
    assert line["nested"][key] == log.HIDDEN
    assert b"habari" not in stream.getvalue()


def test_values_of_any_type_become_a_line(start: Start) -> None:
    stream = start()
    structlog.get_logger().info(
        "x",
        phone=255712345678,
        count=255712345678,
        huge=2**70,
        chats={"255712345678@c.us": 2},
        items=("+255712345678", {1}),
        path=Path("/tmp/255712345678"),  # noqa: S108
        flag=True,
        nothing=None,
    )
    (line,) = stream.lines()
    assert line["phone"] == "+255…678"
    assert line["count"] == 255712345678
    assert line["chats"] == {"255…678@c.us": 2}
    assert line["items"] == ["+255…678", [1]]
    assert line["path"] == "/tmp/+255…678"  # noqa: S108
    assert (line["flag"], line["nothing"]) == (True, None)


def test_exceptions_are_written_redacted(start: Start) -> None:
    stream = start()
    try:
        raise RuntimeError("no chat with 255712345678@c.us, token=abcdef")
    except RuntimeError:
        structlog.get_logger().exception("send failed")
    (line,) = stream.lines()
    assert "RuntimeError: no chat with 255…678@c.us, token=[hidden]" in line["exception"]
    assert "255712345678" not in line["exception"]


def test_the_standard_librarys_loggers_pass_the_same_chain(start: Start) -> None:
    stream = start()
    logging.getLogger("aiohttp.access").info("GET /x from %s", "+255712345678")
    logging.getLogger("library").debug("payload")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    lines = stream.lines()
    assert lines[0]["event"] == "GET /x from +255…678"
    assert lines[0]["logger"] == "aiohttp.access"
    assert "old call" in lines[1]["event"]
    assert len(lines) == 2


async def test_an_unhandled_error_of_the_loop_is_a_line(start: Start) -> None:
    stream = start()
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (line,) = stream.lines()
    assert line["logger"] == "asyncio"
    assert "ZeroDivisionError" in line["exception"]


def test_console_lines_are_for_people(start: Start) -> None:
    stream = start(format="console")
    try:
        raise RuntimeError("no route to +255712345678")
    except RuntimeError:
        structlog.get_logger().exception("failed", tenant_id=str(TENANT))
    text = stream.getvalue().decode()
    assert "failed" in text
    assert f"tenant_id={TENANT}" in text
    assert "RuntimeError: no route to +255…678" in text


def test_auto_is_json_where_nobody_watches(start: Start) -> None:
    stream = start(format="auto")
    structlog.get_logger().info("x")
    assert stream.lines()[0]["event"] == "x"


def test_each_tenant_has_its_own_file_and_no_other_lines(start: Start, tmp_path: Path) -> None:
    stream = start()
    other = uuid4()
    for tenant in (TENANT, other):
        with structlog.contextvars.bound_contextvars(tenant_id=tenant):
            structlog.get_logger().info("hello", phone="+255712345678")
    structlog.get_logger().info("daemon")
    assert len(stream.lines()) == 3
    (line,) = tenant_lines(tmp_path, TENANT)
    assert (line["tenant_id"], line["phone"]) == (str(TENANT), "+255…678")
    assert [line["tenant_id"] for line in tenant_lines(tmp_path, other)] == [str(other)]


def test_only_an_id_becomes_a_files_name(start: Start, tmp_path: Path) -> None:
    stream = start()
    structlog.get_logger().info("x", tenant_id="../../etc/passwd")
    assert len(stream.lines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_tenants_file_is_rotated_and_bounded(start: Start, tmp_path: Path) -> None:
    start(tenant_file_bytes=10_000, tenant_files_kept=2)
    for number in range(300):
        structlog.get_logger().info("x" * 200, number=number, tenant_id=str(TENANT))
    files = sorted((tmp_path / "tenants").iterdir())
    assert [file.name for file in files] == [f"{TENANT}.log{end}" for end in ("", ".1", ".2")]
    assert all(file.stat().st_size <= 10_000 for file in files)
    newest = [orjson.loads(line)["number"] for line in files[0].read_bytes().splitlines()]
    before = [orjson.loads(line)["number"] for line in files[1].read_bytes().splitlines()]
    assert before + newest == list(range(before[0], 300))


def test_few_files_are_open_and_all_lines_arrive(tmp_path: Path) -> None:
    files = log.TenantFiles(tmp_path, max_bytes=10_000, kept=1, max_open=2)
    tenants = [uuid4() for _ in range(5)]
    for number in range(3):
        for tenant in tenants:
            files(None, "info", {"tenant_id": str(tenant), "number": number})
    descriptors = [path.resolve() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert sum(path.parent == tmp_path for path in descriptors) == 2
    files.close()
    for tenant in tenants:
        assert len((tmp_path / f"{tenant}.log").read_bytes().splitlines()) == 3


def test_a_removed_tenant_leaves_no_file(tmp_path: Path) -> None:
    handle = log.setup(LoggingSettings(format="json", directory=tmp_path), Stream())
    structlog.get_logger().info("x", tenant_id=str(TENANT))
    (tmp_path / "tenants" / f"{TENANT}.log.1").write_text("older")
    handle.forget_tenant(TENANT, delete=True)
    assert not list((tmp_path / "tenants").iterdir())
    handle.close()


def test_a_disk_that_refuses_costs_the_copy_not_the_line(start: Start, tmp_path: Path) -> None:
    stream = start(directory=tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    structlog.get_logger().info("x", tenant_id=str(TENANT))
    (line,) = stream.lines()
    assert line["tenant_log_error"] == "Not a directory"


def test_a_closed_stream_stops_nobody(start: Start) -> None:
    stream = start()
    stream.close()
    structlog.get_logger().info("nobody reads this")


def test_lines_of_threads_do_not_mix(start: Start, tmp_path: Path) -> None:
    start(tenant_file_bytes=20_000, tenant_files_kept=50)

    def write() -> None:
        for _ in range(200):
            structlog.get_logger().info("y" * 100, tenant_id=str(TENANT))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = (tmp_path / "tenants").iterdir()
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    assert {orjson.loads(line)["event"] for line in lines} == {"y" * 100}
    assert len(lines) == 800


def test_after_a_reopening_lines_go_to_a_new_file(tmp_path: Path) -> None:
    handle = log.setup(LoggingSettings(format="json", directory=tmp_path), Stream())
    path = tmp_path / "tenants" / f"{TENANT}.log"
    structlog.get_logger().info("before", tenant_id=str(TENANT))
    moved = path.rename(path.with_suffix(".old"))
    structlog.get_logger().info("still the old one", tenant_id=str(TENANT))
    handle.reopen()
    structlog.get_logger().info("after", tenant_id=str(TENANT))
    handle.close()
    assert [orjson.loads(line)["event"] for line in moved.read_bytes().splitlines()] == [
        "before",
        "still the old one",
    ]
    assert orjson.loads(path.read_bytes())["event"] == "after"


def test_closing_puts_everything_back(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    handle = log.setup(LoggingSettings(format="json", directory=tmp_path), Stream())
    assert root.handlers != before[0]
    handle.close()
    assert (root.handlers, root.level) == before
    assert not structlog.is_configured()


def complain() -> None:
    """What asyncpg's pool does at each attempt."""
    try:
        raise ConnectionRefusedError("127.0.0.1")
    except ConnectionRefusedError:
        logging.getLogger("asyncpg.pool").warning(
            "Failed to restore the pool connection floor; retrying", exc_info=True
        )


def test_a_pool_that_cannot_connect_says_so_once_an_outage(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = start()
    for _ in range(20):
        complain()
    (line,) = stream.lines()
    assert (line["event"], line["why"]) == (
        "database connections cannot be opened: trying again",
        "ConnectionRefusedError",
    )
    assert "exception" not in line
    monkeypatch.setattr(log, "POOL_EPISODE_S", -1.0)
    complain()
    assert len(stream.lines()) == 2


def test_other_words_of_the_pool_are_told_as_they_are(start: Start) -> None:
    stream = start()
    logging.getLogger("asyncpg.pool").warning("Pool.close() is taking over 60 seconds")
    assert stream.lines()[0]["event"] == "Pool.close() is taking over 60 seconds"


def test_the_pool_still_says_it_in_these_words() -> None:
    said = "".join(re.findall(r"'([^']*)'", inspect.getsource(asyncpg.pool)))
    assert log.POOL_COMPLAINT in said
    assert asyncpg.pool.__name__ == log.POOL_LOGGER
