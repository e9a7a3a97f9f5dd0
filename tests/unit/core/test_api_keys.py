"""Keys of the HTTP API: their form, that only a digest is left of one, how it is compared, and what may be stored."""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline_core.api_keys import (
    Scope,
    allows,
    check_digest,
    check_key,
    check_key_id,
    digest,
    make_key,
    matches,
    parse_key,
)
from pipeline_core.settings import ApiKeySettings

PEPPER = b"p" * 32
SECRET = "s" * 43
KEY_ID = "a1b2c3d4e5f6g7h8"


def test_a_key_has_its_id_and_a_secret_of_32_random_bytes() -> None:
    keys = [make_key(PEPPER) for _ in range(100)]
    for key in keys:
        assert re.fullmatch(r"plk_[a-z0-9]{16}_[A-Za-z0-9_-]{43}", key.text)
        assert parse_key(key.text) == (key.key_id, key.text[21:])
    assert len({key.key_id for key in keys}) == len({key.text[21:] for key in keys}) == 100


def test_nothing_of_the_secret_is_in_what_is_stored_or_shown() -> None:
    key = make_key(PEPPER)
    assert key.text not in repr(key)
    assert repr(key) == f"NewKey(key_id='{key.key_id}')"
    assert key.digest == hmac.new(PEPPER, key.text[21:].encode(), hashlib.sha256).digest()


@given(st.binary(min_size=1, max_size=64))
def test_every_key_is_read_back_and_matches(pepper: bytes) -> None:
    key = make_key(pepper)
    parsed = parse_key(key.text)
    assert parsed is not None
    key_id, secret = parsed
    assert key_id == key.key_id
    assert matches(pepper, secret, key.digest)
    assert not matches(pepper + b"x", secret, key.digest)
    assert not matches(pepper, secret[:-1] + ("A" if secret[-1] != "A" else "B"), key.digest)


@given(
    st.one_of(
        st.text(),
        st.from_regex(r"plk_[a-z0-9]{15,17}_[A-Za-z0-9_-]{42,44}", fullmatch=True),
        st.text().map(lambda text: f"plk_{KEY_ID}_{text}"),
    )
)
def test_whatever_text_comes_is_read_or_none(text: str) -> None:
    parsed = parse_key(text)
    if parsed is not None:
        assert text == f"plk_{parsed[0]}_{parsed[1]}"
        assert isinstance(digest(PEPPER, parsed[1]), bytes)
        check_key_id(parsed[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"plk_{KEY_ID}_{SECRET}\n",
        f" plk_{KEY_ID}_{SECRET}",
        f"PLK_{KEY_ID}_{SECRET}",
        f"plk_{KEY_ID.upper()}_{SECRET}",
        f"plk_{KEY_ID[:-1]}_{SECRET}",
        f"plk_{KEY_ID}-{SECRET}",
        f"plk_{KEY_ID}_{SECRET[:-1]}",
        f"plk_{KEY_ID}_{SECRET}s",
        f"plk_{KEY_ID}_{SECRET[:-1]}=",
        f"plk_{KEY_ID}_{SECRET[:-1]}\u00e9",
        f"plk_{KEY_ID[:-1]}\u0661_{SECRET}",  # a digit, of another script
    ],
)
def test_what_is_almost_a_key_is_none(text: str) -> None:
    assert parse_key(text) is None


def test_the_comparison_takes_the_same_time_wherever_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    stored = digest(PEPPER, SECRET)
    monkeypatch.setattr("pipeline_core.api_keys.hmac.compare_digest", watched)
    assert matches(PEPPER, SECRET, stored)
    assert not matches(PEPPER, SECRET, bytes(32))
    assert compared == [(stored, stored), (stored, bytes(32))]


@pytest.mark.parametrize("scope", Scope)
def test_admin_opens_what_every_scope_does_and_others_only_their_own(scope: Scope) -> None:
    assert allows(frozenset({Scope.ADMIN}), scope)
    assert allows(frozenset({scope}), scope)
    assert not allows(set(Scope) - {scope, Scope.ADMIN}, scope)


@pytest.mark.parametrize("key_id", ["", "A1B2C3D4E5F6G7H8", KEY_ID[:-1], KEY_ID + "x", KEY_ID[:-1] + "_"])
def test_a_wrong_id_is_named(key_id: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"key_id {key_id!r}: expected the 16 lower-case")):
        check_key_id(key_id)


@pytest.mark.parametrize("text", [f"plk_{KEY_ID}_{SECRET}", f"{KEY_ID}_{SECRET}", SECRET])
def test_a_key_in_place_of_its_id_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^key_id: expected") as raised:
        check_key_id(text)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"org_slug": "Acme"}, "org_slug 'Acme' isn't of the form"),
        ({"name": ""}, "name '': expected 1 to 100 printable characters"),
        ({"name": "x" * 101}, "expected 1 to 100 printable characters"),
        ({"name": "a\nb"}, r"name 'a\nb': expected"),
        ({"scopes": []}, "scopes '': expected one or more of run, read, schedule, admin"),
        ({"scopes": ["read", "write"]}, "scopes 'read, write': expected one or more of"),
        ({"expires_at": datetime(2027, 1, 1)}, "expires_at 2027-01-01 00:00:00: expected a time with its offset"),
        ({"requests_per_minute": 0}, "requests_per_minute 0: expected a whole number from 1"),
        ({"requests_per_minute": 10**6 + 1}, "requests_per_minute 1000001: expected a whole number"),
    ],
)
def test_what_a_key_can_not_be_is_refused_by_the_fields_name(wrong: dict[str, object], words: str) -> None:
    fitting: dict[str, object] = {"org_slug": "acme", "name": "ci", "scopes": [Scope.RUN]}
    check_key(**fitting)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape(words)):
        check_key(**{**fitting, **wrong})  # type: ignore[arg-type]


def test_a_digest_has_32_bytes() -> None:
    check_digest(digest(PEPPER, SECRET))
    with pytest.raises(ValueError, match="digest of 31 bytes: expected 32"):
        check_digest(bytes(31))


def test_white_space_around_the_pepper_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_API_KEY_PEPPER", f" {'p' * 32}\n")
    assert ApiKeySettings().api_key_pepper.get_secret_value() == "p" * 32


@pytest.mark.parametrize("pepper", ["", "hunter2-hunter2", f"{'h' * 31}\n"])
def test_a_short_pepper_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, pepper: str) -> None:
    monkeypatch.setenv("PIPELINES_API_KEY_PEPPER", pepper)
    with pytest.raises(ValidationError, match="expected at least 32 characters") as raised:
        ApiKeySettings()
    assert "hunter2" not in str(raised.value)
    assert "hhh" not in repr(raised.value)
