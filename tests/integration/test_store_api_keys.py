"""API keys in PostgreSQL: made, found many at once, rotated, revoked, and when they were last used."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.subscription import OrganizationNotFoundError
from pipeline_core.api_keys import NewKey, Scope, make_key
from pipeline_core.store.api_keys import ApiKey, ApiKeys
from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import ApiKeyEndedError, ApiKeyNotFoundError
from pipeline_core.store.organizations import Organizations

PEPPER = b"p" * 32
DAY = timedelta(days=1)
NOBODYS = "0" * 16


@pytest.fixture
async def keys(engine: AsyncEngine) -> ApiKeys:
    for org in ("acme", "globex"):
        await Organizations(engine).create(org)
    return ApiKeys(engine)


async def make(
    keys: ApiKeys, org: str = "acme", *, expires_at: datetime | None = None, rate: int | None = None
) -> ApiKey:
    new = make_key(PEPPER)
    return await keys.create(
        org,
        name="ci",
        scopes=[Scope.RUN, Scope.READ],
        digest=new.digest,
        key_id=new.key_id,
        expires_at=expires_at,
        requests_per_minute=rate,
    )


async def rotate(keys: ApiKeys, key_id: str, grace: timedelta = DAY, new: NewKey | None = None) -> ApiKey:
    new = new or make_key(PEPPER)
    return await keys.rotate(key_id, new_key_id=new.key_id, digest=new.digest, grace=grace)


async def changed(engine: AsyncEngine, key_id: str, change: str) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text(f"UPDATE api_key SET {change} WHERE key_id = :key_id"), {"key_id": key_id})


async def got(keys: ApiKeys, key_id: str) -> ApiKey:
    found = await keys.get(key_id)
    assert found is not None
    return found


async def test_a_key_is_found_as_it_was_made(keys: ApiKeys) -> None:
    expires = datetime(2027, 1, 31, tzinfo=UTC)
    made = await make(keys, expires_at=expires, rate=60)
    assert made == await keys.get(made.key_id)
    assert (made.org_slug, made.name, made.scopes) == ("acme", "ci", frozenset({Scope.RUN, Scope.READ}))
    assert (made.expires_at, made.requests_per_minute, len(made.digest)) == (expires, 60, 32)
    assert (made.revoked_at, made.last_used_at, made.replaced_by) == (None, None, None)
    assert str(made.digest) not in repr(made)
    assert await keys.get(NOBODYS) is None


async def test_many_at_once_get_their_own_in_the_order_in_which_they_asked(keys: ApiKeys) -> None:
    ids = [(await make(keys)).key_id for _ in range(3)] + [NOBODYS]
    found = await asyncio.gather(*(keys.get(key_id) for key_id in ids * 20))
    assert [each and each.key_id for each in found] == [*ids[:3], None] * 20


async def test_a_key_of_nobody_is_refused(keys: ApiKeys) -> None:
    with pytest.raises(OrganizationNotFoundError):
        await make(keys, "initech")
    assert await keys.list() == []


async def test_an_id_is_given_once(keys: ApiKeys) -> None:
    made = await make(keys)
    with pytest.raises(IntegrityError, match="api_key_pkey"):
        await keys.create("globex", name="x", scopes=[Scope.ADMIN], digest=bytes(32), key_id=made.key_id)
    assert await got(keys, made.key_id) == made


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("name", ""), ("scopes", []), ("digest", b"short"), ("key_id", "plk_"), ("requests_per_minute", -1)],
)
async def test_a_wrong_key_is_refused_by_the_fields_name(keys: ApiKeys, field: str, wrong: object) -> None:
    values = {"name": "ci", "scopes": [Scope.RUN], "digest": bytes(32), "key_id": NOBODYS, field: wrong}
    with pytest.raises(ValueError, match=f"^{field}|^digest of 5 bytes"):
        await keys.create("acme", **values)  # type: ignore[arg-type]
    assert await keys.list() == []


async def test_keys_are_listed_by_organization_and_time(keys: ApiKeys) -> None:
    made = [await make(keys, org) for org in ("globex", "acme", "globex", "acme")]
    assert await keys.list() == [made[1], made[3], made[0], made[2]]
    assert await keys.list("globex") == [made[0], made[2]]
    assert await keys.list("initech") == []


async def test_a_revoked_key_opens_nothing_and_stays_revoked(keys: ApiKeys) -> None:
    made = await make(keys)
    ended = await keys.revoke(made.key_id)
    assert ended.revoked_at is not None
    assert made.is_active(datetime.now(UTC))
    assert not ended.is_active(datetime.min.replace(tzinfo=UTC))
    assert await keys.revoke(made.key_id) == ended == await keys.get(made.key_id)
    with pytest.raises(ApiKeyNotFoundError, match=NOBODYS):
        await keys.revoke(NOBODYS)


async def test_a_key_is_active_until_the_moment_it_expires(keys: ApiKeys) -> None:
    expires = datetime(2027, 1, 31, tzinfo=UTC)
    made = await make(keys, expires_at=expires)
    assert made.is_active(expires - timedelta(microseconds=1))
    assert not made.is_active(expires)


async def test_rotated_the_new_key_is_what_the_old_one_was_which_ends_after_the_grace(keys: ApiKeys) -> None:
    old = await make(keys, rate=60)
    new = await rotate(keys, old.key_id, timedelta(hours=24))
    assert new == await keys.get(new.key_id)
    assert (new.org_slug, new.name, new.scopes, new.requests_per_minute) == ("acme", "ci", old.scopes, 60)
    assert (new.expires_at, new.digest != old.digest) == (None, True)
    ending = await got(keys, old.key_id)
    assert (ending.expires_at, ending.replaced_by) == (new.created_at + timedelta(hours=24), new.key_id)
    assert (ending.digest, ending.revoked_at) == (old.digest, None)


async def test_without_grace_the_old_key_ends_at_once(keys: ApiKeys) -> None:
    old = await make(keys)
    new = await rotate(keys, old.key_id, timedelta())
    assert not (await got(keys, old.key_id)).is_active(new.created_at)


async def test_a_key_that_expires_is_rotated_to_one_that_lasts_as_long(keys: ApiKeys, engine: AsyncEngine) -> None:
    old = await make(keys)
    await changed(engine, old.key_id, "created_at = now() - interval '89 days', expires_at = now() + interval '1 day'")
    before = await got(keys, old.key_id)
    new = await rotate(keys, old.key_id, 7 * DAY)
    assert new.expires_at == new.created_at + 90 * DAY
    assert (await got(keys, old.key_id)).expires_at == before.expires_at  # grace makes no key last longer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("revoked_at = now()", "is revoked: create another one"),
        ("expires_at = now()", "has expired: create another one"),
        ("replaced_by = '1111111111111111'", "was rotated to 1111111111111111: rotate that one"),
    ],
)
async def test_a_key_that_ended_is_not_rotated(keys: ApiKeys, engine: AsyncEngine, change: str, words: str) -> None:
    old = await make(keys)
    await changed(engine, old.key_id, change)
    with pytest.raises(ApiKeyEndedError, match=words):
        await rotate(keys, old.key_id)
    assert len(await keys.list()) == 1


async def test_of_many_who_rotate_one_key_one_does(keys: ApiKeys) -> None:
    old = await make(keys)
    done = await asyncio.gather(*(rotate(keys, old.key_id) for _ in range(10)), return_exceptions=True)
    (new,) = [each for each in done if isinstance(each, ApiKey)]
    assert all(isinstance(each, ApiKeyEndedError) for each in done if each is not new)
    assert {key.key_id for key in await keys.list()} == {old.key_id, new.key_id}


async def test_what_can_not_be_rotated_is_said(keys: ApiKeys) -> None:
    with pytest.raises(ApiKeyNotFoundError):
        await rotate(keys, NOBODYS)
    old = await make(keys)
    with pytest.raises(ValueError, match="grace"):
        await rotate(keys, old.key_id, timedelta(seconds=-1))
    with pytest.raises(IntegrityError, match="api_key_pkey"):
        await rotate(keys, old.key_id, new=NewKey(old.key_id, "", bytes(32)))
    assert await keys.list() == [old]  # not rotated by half


async def test_the_last_use_is_noted_once_a_minute(keys: ApiKeys, engine: AsyncEngine) -> None:
    used, other = await make(keys), await make(keys)
    await keys.used([used.key_id, used.key_id, NOBODYS])
    first = (await got(keys, used.key_id)).last_used_at
    assert first is not None
    await keys.used({used.key_id})
    assert (await got(keys, used.key_id)).last_used_at == first
    await changed(engine, used.key_id, "last_used_at = last_used_at - interval '61 seconds'")
    await keys.used([used.key_id])
    again = (await got(keys, used.key_id)).last_used_at
    assert again is not None
    assert again >= first
    assert (await got(keys, other.key_id)).last_used_at is None
    await keys.used([])


async def test_noting_a_use_waits_for_nobody(keys: ApiKeys, engine: AsyncEngine) -> None:
    held, free = await make(keys), await make(keys)
    async with transaction(engine) as connection:
        locked = text("SELECT FROM api_key WHERE key_id = :key_id FOR UPDATE")
        await connection.execute(locked, {"key_id": held.key_id})
        async with asyncio.timeout(5):
            await keys.used([held.key_id, free.key_id])
    assert (await got(keys, held.key_id)).last_used_at is None
    assert (await got(keys, free.key_id)).last_used_at is not None
