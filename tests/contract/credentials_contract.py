"""What signing in, and the audit, rely on: one suite for the stores in memory and on PostgreSQL."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from flowhq.admin.cookies import digest
from flowhq.admin.credentials import Credentials
from flowhq.admin.recording import AuditBook
from flowhq.db.adminsessions import LONGEST, NewSession
from flowhq.db.audit import Change, EntryFilter, NewEntry
from flowhq.db.tokens import NewToken
from flowhq.db.users import NewUser, UserChanges
from flowhq.db.versions import version_at
from flowhq.errors import AlreadyExistsError, ChangedMeanwhileError, NotFoundError
from flowhq.model import TenantId

ASHA = NewUser("asha", "$argon2id$one", "viewer", "user:admin")
ENTRY = NewEntry("user:asha", "192.0.2.7", "req-1", "POST", "pause_tenant", None, {"chat": "c"})


def session_of(user: str, secret: str) -> NewSession:
    return NewSession(digest(secret), user, b"mark", "192.0.2.7", "Mozilla")


class CredentialsContract:
    async def test_a_user_is_found_by_name_and_by_id(self, credentials: Credentials) -> None:
        created = await credentials.create_user(ASHA)
        assert (created.name, created.role, created.disabled_at) == ("asha", "viewer", None)
        assert await credentials.find_user("asha") == created
        assert await credentials.fetch_user(created.user_id) == created
        assert await credentials.find_user("juma") is None
        with pytest.raises(NotFoundError):
            await credentials.fetch_user(uuid4())

    async def test_a_name_is_taken_once(self, credentials: Credentials) -> None:
        await credentials.create_user(ASHA)
        with pytest.raises(AlreadyExistsError) as taken:
            await credentials.create_user(ASHA)
        assert taken.value.field == "name"

    async def test_a_change_of_a_user_leaves_the_rest_and_ends_its_sessions(
        self, credentials: Credentials
    ) -> None:
        asha = await credentials.create_user(ASHA)
        await credentials.begin_session(session_of("asha", "a"), instead_of=None)
        await credentials.begin_session(session_of("juma", "j"), instead_of=None)
        changed = await credentials.update_user(asha.user_id, UserChanges(role="admin"))
        assert (changed.role, changed.password_hash) == ("admin", "$argon2id$one")
        assert await credentials.find_session(digest("a")) is None
        assert await credentials.find_session(digest("j")) is not None
        changed = await credentials.update_user(asha.user_id, UserChanges(disabled=True))
        assert changed.disabled_at is not None
        changed = await credentials.update_user(
            asha.user_id, UserChanges(password_hash="$argon2id$two", disabled=False)
        )
        assert (changed.password_hash, changed.disabled_at) == ("$argon2id$two", None)
        old = {version_at(asha.updated_at)}
        with pytest.raises(ChangedMeanwhileError):
            await credentials.update_user(asha.user_id, UserChanges(role="viewer"), seen=old)
        new = {version_at(changed.updated_at)}
        changed = await credentials.update_user(asha.user_id, UserChanges(role="viewer"), seen=new)
        assert changed.role == "viewer"
        with pytest.raises(NotFoundError):
            await credentials.update_user(uuid4(), UserChanges(role="admin"))

    async def test_a_session_is_found_by_its_secret_and_ends_once(
        self, credentials: Credentials
    ) -> None:
        begun = await credentials.begin_session(session_of("asha", "a"), instead_of=None)
        found = await credentials.find_session(digest("a"))
        assert found is not None
        assert (found.session_id, found.user_name, found.mark) == (
            begun.session_id,
            "asha",
            b"mark",
        )
        assert found.expires_at == found.created_at + LONGEST
        assert await credentials.find_session(digest("b")) is None
        with pytest.raises(NotFoundError):
            await credentials.end_session(begun.session_id, user_name="juma")
        await credentials.end_session(begun.session_id, user_name="asha")
        assert await credentials.find_session(digest("a")) is None
        with pytest.raises(NotFoundError):
            await credentials.end_session(begun.session_id, user_name=None)

    async def test_a_session_takes_the_place_of_another(self, credentials: Credentials) -> None:
        await credentials.begin_session(session_of("asha", "a"), instead_of=None)
        await credentials.begin_session(session_of("juma", "b"), instead_of=digest("a"))
        assert await credentials.find_session(digest("a")) is None
        page = await credentials.list_sessions(user_name=None, limit=9, after=None)
        assert [row.user_name for row in page.rows] == ["juma"]
        page = await credentials.list_sessions(user_name="asha", limit=9, after=None)
        assert (list(page.rows), page.next) == ([], None)

    async def test_a_token_keeps_what_it_was_given(self, credentials: Credentials) -> None:
        tenants = [TenantId(uuid4())]
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        new = NewToken(uuid4(), "report", digest("s"), ["status:read"], tenants, "user:asha", ends)
        await credentials.create_token(new)
        found = await credentials.find_token(new.token_id)
        assert found is not None
        assert (found.name, found.secret_sha256) == ("report", digest("s"))
        assert (list(found.scopes), list(found.tenants or ())) == (["status:read"], tenants)
        assert (found.expires_at, found.expired, found.revoked_at) == (ends, False, None)
        assert await credentials.find_token(uuid4()) is None

    async def test_a_token_knows_whether_the_user_behind_it_is_disabled(
        self, credentials: Credentials
    ) -> None:
        asha = await credentials.create_user(ASHA)
        first = NewToken(uuid4(), "first", digest("1"), ["admin"], None, "user:asha")
        second = NewToken(
            uuid4(), "second", digest("2"), ["admin"], None, f"token:{first.token_id}"
        )
        others = [
            NewToken(uuid4(), "other", digest(by), ["admin"], None, by)
            for by in ("user:juma", "user:admin", "cli:asha")
        ]
        for new in (first, second, *others):
            await credentials.create_token(new)

        async def refused() -> list[str]:
            found = [await credentials.find_token(new.token_id) for new in (first, second, *others)]
            return [row.name for row in found if row is not None and row.maker_disabled]

        assert await refused() == []
        await credentials.update_user(asha.user_id, UserChanges(disabled=True))
        assert await refused() == ["first", "second"]
        await credentials.update_user(asha.user_id, UserChanges(disabled=False))
        assert await refused() == []

    async def test_a_token_expires_is_used_and_is_revoked_once(
        self, credentials: Credentials
    ) -> None:
        past = datetime.now(UTC) - timedelta(hours=1)
        over = NewToken(uuid4(), "over", digest("s"), ["admin"], None, "user:asha", past)
        await credentials.create_token(over)
        await credentials.touch_token(over.token_id)
        found = await credentials.find_token(over.token_id)
        assert found is not None
        assert found.expired
        assert found.last_used_at is not None
        revoked = await credentials.revoke_token(over.token_id)
        again = await credentials.revoke_token(over.token_id)
        assert revoked.revoked_at == again.revoked_at is not None
        page = await credentials.list_tokens(limit=9, after=None)
        assert [row.token_id for row in page.rows] == [over.token_id]
        with pytest.raises(NotFoundError):
            await credentials.revoke_token(uuid4())


class AuditContract:
    async def test_an_entry_is_open_until_it_is_ended_once(self, audit: AuditBook) -> None:
        entry_id = await audit.begin(ENTRY)
        (row,) = (await audit.list_entries(EntryFilter(), limit=5, before=None)).rows
        assert (row.entry_id, row.entry, row.status, row.done_at) == (entry_id, ENTRY, None, None)
        await audit.end(entry_id, status=200, changes=[Change("name", "A", None)])
        await audit.end(entry_id, status=500, changes=[])
        (row,) = (await audit.list_entries(EntryFilter(), limit=5, before=None)).rows
        assert (row.status, list(row.changes)) == (200, [Change("name", "A", None)])
        assert row.done_at is not None

    async def test_the_newest_entry_comes_first_and_filters_all_hold(
        self, audit: AuditBook
    ) -> None:
        tenant_id = TenantId(uuid4())
        other = NewEntry("user:juma", "", "req-2", "POST", "stop_worker", tenant_id)
        for entry in (ENTRY, other):
            await audit.write(entry, status=409, changes=[])
        for wanted, expected in (
            (EntryFilter(), [other, ENTRY]),
            (EntryFilter(tenant_id=tenant_id), [other]),
            (EntryFilter(principal="user:asha"), [ENTRY]),
            (EntryFilter(principal="user:asha", route="stop_worker"), []),
        ):
            page = await audit.list_entries(wanted, limit=5, before=None)
            assert [row.entry for row in page.rows] == expected
            assert page.next is None
