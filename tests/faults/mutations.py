"""The product without one of its safeguards, as a copy beside it.

Each mutation replaces exact passages of the source; one that does not stand there exactly once any
more is an error, so that nobody believes in a mutation that changes nothing.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("flowhq", "sql", "tests", "bench", "pyproject.toml", "config.toml")


@dataclass(frozen=True, slots=True)
class Edit:
    """In ``path``: this passage, and what stands there instead."""

    path: str
    passage: str
    instead: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """``lacks``: what is taken away."""

    lacks: str
    edits: tuple[Edit, ...]


MUTATIONS = {
    "look-up": Mutation(
        "What is in doubt after a crash is sent again without looking it up in the page.",
        (
            Edit(
                "flowhq/bot/outbound.py",
                "if following.state in _IN_DOUBT and await self._settled(following, patience):",
                "if False and await self._settled(following, patience):",
            ),
        ),
    ),
    "inbox-key": Mutation(
        "A message may stand in the inbox any number of times.",
        (
            Edit(
                "sql/migrations/0003_ledger.sql",
                "    CONSTRAINT inbox_pkey PRIMARY KEY (tenant_id, from_me, wa_message_id),\n",
                "",
            ),
            Edit(
                "sql/migrations/0025_merged_chats.sql",
                "i.wa_message_id = p_id;\n    IF FOUND THEN\n        o_differs",
                "i.wa_message_id = p_id;\n    IF false THEN\n        o_differs",
            ),
            Edit(
                "flowhq/db/inbox.py",
                '    return [row["recorded"] for row in rows]\n',
                "    return [False for row in rows]\n",
            ),
            Edit(
                "sql/migrations/0025_merged_chats.sql",
                ") ON CONFLICT (tenant_id, from_me, wa_message_id) DO NOTHING\n",
                ")\n",
            ),
        ),
    ),
    "outbox-key": Mutation(
        "A reply may be planned any number of times for one cause.",
        (
            Edit(
                "sql/migrations/0003_ledger.sql",
                "    CONSTRAINT outbox_cause_part_key UNIQUE (tenant_id, cause, part),\n"
                "    CONSTRAINT outbox_client_id_key UNIQUE (tenant_id, client_id),\n",
                "",
            ),
        ),
    ),
    "hold": Mutation(
        "Live messages are recorded while the past is still being read.",
        (
            Edit(
                "flowhq/bot/pump.py",
                "        await self._catchup.run(\n"
                "            paired_at=self._paired_at,\n"
                "            paused=self._lifecycle.snapshot.paused,\n"
                "            unsure_since=self._unsure_since,\n"
                "            line_up=self._restored,\n"
                "        )\n",
                "        run = self._catchup.run(\n"
                "            paired_at=self._paired_at, paused=self._lifecycle.snapshot.paused\n"
                "        )\n"
                "        self._behind = asyncio.ensure_future(run)\n",
            ),
        ),
    ),
    "commit-before-send": Mutation(
        "A message is handed to the page before the intent to send it is committed.",
        (
            Edit(
                "flowhq/bot/outbound.py",
                "        if not await until_stored(self._clock, "
                "lambda: self._mark_sending(row)):\n"
                "            return None\n"
                '        self._traces.mark_reply(row.outbox_id, "commit")\n'
                "        if not self._online.is_set():\n"
                "            return replace(row, state=OutboxState.SENDING, "
                "attempts=row.attempts + 1)\n"
                "        return await self._hand_over(row)\n",
                "        handed = await self._hand_over(row)\n"
                "        await until_stored(self._clock, lambda: self._mark_sending(row))\n"
                "        return handed\n",
            ),
        ),
    ),
}


def mutate(name: str, to: Path) -> Path:
    """A copy of the source in ``to`` (an empty folder) that lacks this safeguard; its root."""
    for part in COPIED:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, to / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, to / part)
    for path, text in edited(name).items():
        (to / path).write_text(text)
    return to


def edited(name: str) -> dict[str, str]:
    """The files that lack this safeguard, by their paths. ValueError for a passage that does not
    stand there exactly once."""
    texts: dict[str, str] = {}
    for edit in MUTATIONS[name].edits:
        text = texts.get(edit.path) or (ROOT / edit.path).read_text()
        if text.count(edit.passage) != 1:
            raise ValueError(f"{name}: {edit.path} has this not once: {edit.passage!r}")
        texts[edit.path] = text.replace(edit.passage, edit.instead)
    return texts
