"""Bodies are read without loss and without guesses; what JSON leaves open is refused; a request is known again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_bridge.bodies import fingerprint, read_object, read_parameters
from pipeline_bridge.problems import Problem
from pipeline_core.api_keys import Scope
from pipeline_core.errors import ParametersInvalidError
from support.bridge import Bridge

PATH = "/pipelines/run/acme/gcp/cost/billing"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"", {}),
        (b" \r\n", {}),
        (b"{}", {}),
        (b'{"date": "2026-11-21", "limit": 5, "full": true}', {"date": "2026-11-21", "limit": 5, "full": True}),
        # No digit is lost, and none is made up.
        (b'{"a": 1.50, "b": 0.1000000000000000055}', {"a": "1.50", "b": "0.1000000000000000055"}),
        (b'{"a": 1e400, "b": -0}', {"a": "1e400", "b": 0}),
        (b'{"a": -9223372036854775808, "b": 123456789012345678901}', {"a": -(2**63), "b": "123456789012345678901"}),
        (b'{"a": ' + b"9" * 60_000 + b"}", {"a": "9" * 60_000}),
        ('{"ü": "日本"}'.encode(), {"ü": "日本"}),
    ],
)  # fmt: skip
def test_a_flat_object_is_read_as_it_was_written(raw: bytes, body: object) -> None:
    assert read_parameters(raw) == body


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", "expected JSON: "),
        (b"date=2026-11-21", "expected JSON: Expecting value at line 1, column 1"),
        (b'{"date": "2026-11-21"} {}', "expected JSON: Extra data"),
        (b"[]", "expected a JSON object such as {}, got an array"),
        (b"null", "got null"),
        (b'"{}"', "got a string"),
        (b"1.5", "got a string"),
        (b"7", "got a number"),
        (b"true", "got true or false"),
        (b'{"a": NaN}', "which has no NaN"),
        (b'{"a": [-Infinity]}', "which has no -Infinity"),
        (b'{"a": 1, "b": 2, "a": 1}', "field 'a' is there twice"),
        (b'{"a": {"b": 1, "b": 2}}', "field 'b' is there twice"),
        (b"\xff\xfe{\x00}\x00", "expected UTF-8, got something else at byte 0"),
        (b'{"a": "\xed\xa0\x80"}', "expected UTF-8, got something else at byte 7"),
        ("\ufeff{}".encode(), "expected JSON: "),
        (b"[" * 60_000, "nested too deeply"),
        (b'{"a":' * 10_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Problem) as refused:
        read_object(raw)
    assert (refused.value.status, refused.value.reason) == (400, "MalformedJson")
    assert words in refused.value.detail


@pytest.mark.parametrize(
    ("value", "kind"), [("null", "null"), ('{"a": 1}', "an object"), ('["2026-11-21"]', "an array"), ("[]", "an array")]
)
def test_a_value_that_is_no_scalar_is_refused_by_its_name(value: str, kind: str) -> None:
    with pytest.raises(ParametersInvalidError) as refused:
        read_parameters(f'{{"good": 1, "date": {value}}}'.encode())
    assert str(refused.value) == f"parameter 'date': expected a string, a number, or true or false, got {kind}"


def test_a_long_name_is_shortened() -> None:
    with pytest.raises(ParametersInvalidError) as refused:
        read_parameters(json.dumps({"n" * 60_000: None}).encode())
    assert len(str(refused.value)) < 200


def test_requests_are_the_same_however_they_are_written() -> None:
    one = fingerprint("POST", "/api/v1" + PATH, read_object(b'{"a": 1, "b": "\\u00fc"}'))
    assert one == fingerprint("POST", PATH, read_object('{ "b":"ü",\n"a":1 }'.encode()))
    assert fingerprint("POST", PATH, read_object(b"")) == fingerprint("POST", PATH, read_object(b"{}"))


@pytest.mark.parametrize(
    ("method", "path", "raw"),
    [
        ("PUT", PATH, b'{"a": 1}'),
        ("POST", PATH + "_2", b'{"a": 1}'),
        ("POST", PATH, b'{"a": 2}'),
        ("POST", PATH, b'{"a": "1"}'),
        ("POST", PATH, b'{"a": true}'),
        ("POST", PATH, b'{"a": 1, "b": 1}'),
    ],
)
def test_requests_that_ask_for_something_else_are_others(method: str, path: str, raw: bytes) -> None:
    assert fingerprint(method, path, read_object(raw)) != fingerprint("POST", PATH, read_object(b'{"a": 1}'))


@pytest.mark.parametrize(
    ("kinds", "content", "status"),
    [
        (["application/json"], b"{}", 200),
        (["Application/JSON; charset=utf-8"], b"{}", 200),
        ([], b"{}", 200),
        (["text/plain"], b"", 200),
        (["text/plain"], b" \n", 200),
        (["text/plain"], b"{}", 415),
        (["application/x-www-form-urlencoded"], b"date=2026-11-21", 415),
        (["application/jsonlines"], b"{}", 415),
        ([""], b"{}", 415),
        (["application/json", "text/plain"], b"{}", 415),
    ],
)
async def test_a_body_that_says_to_be_something_else_isnt_read(kinds: list[str], content: bytes, status: int) -> None:
    bridge = Bridge()
    headers = [("Content-Type", kind) for kind in kinds]
    async with bridge.client(bridge.key(Scope.RUN)) as client:
        answer = await client.post(PATH, content=content, headers=headers)
    assert answer.status_code == status
    if status == 415:
        assert answer.json()["type"] == "urn:pipelines:problem:unsupported-media-type"
        assert answer.json()["detail"].endswith("expected application/json")
        assert answer.headers["Accept"] == "application/json"
        assert bridge.records.rows == {}


async def test_two_idempotency_keys_are_none() -> None:
    bridge = Bridge()
    async with bridge.client(bridge.key(Scope.RUN)) as client:
        headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
        answer = await client.post(PATH, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "Idempotency-Key", "expected": "the header once"}]
    assert bridge.records.rows == bridge.idempotency.rows == {}


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none())))
def test_any_object_is_read_or_refused_and_can_be_told_from_others(body: dict[str, object]) -> None:
    raw = json.dumps(body).encode()
    try:
        found = read_parameters(raw)
    except (Problem, ParametersInvalidError):
        return
    assert found.keys() == body.keys()
    assert len(fingerprint("POST", PATH, found)) == 32
