"""The outcome fits a termination message whatever the error, and anything else there is no outcome."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.outcome import TERMINATION_MESSAGE_MAX_BYTES, Outcome


def test_an_outcome_comes_back_as_it_went() -> None:
    outcome = Outcome(status="succeeded", records_processed=50_123, stages={"extract": 1.5})
    assert Outcome.from_message(outcome.to_message()) == outcome


@given(st.text(max_size=12_000))
def test_a_message_never_exceeds_what_the_kubelet_keeps(error: str) -> None:
    message = Outcome(status="failed", error=error).to_message()
    assert len(message.encode()) <= TERMINATION_MESSAGE_MAX_BYTES
    back = Outcome.from_message(message)
    assert back is not None
    assert back.error is not None
    kept = back.error.removesuffix(" … (cut)")
    assert error.startswith(kept) or back.error == error


@pytest.mark.parametrize("error", ["caf\udce9.csv", "\ud83d" * 5_000])
def test_an_error_that_is_no_unicode_is_still_told(error: str) -> None:
    outcome = Outcome(status="failed", error=error)
    assert len(outcome.to_message().encode()) <= TERMINATION_MESSAGE_MAX_BYTES
    back = Outcome.from_message(outcome.to_message())
    assert back is not None
    assert (back.error or "").startswith(error[:3].encode("utf-8", "replace").decode())


def test_a_long_error_keeps_most_of_its_words() -> None:
    message = Outcome(status="failed", error="x" * 10_000).to_message()
    assert len(message.encode()) > TERMINATION_MESSAGE_MAX_BYTES * 0.9
    assert json.loads(message)["error"].endswith("… (cut)")


@pytest.mark.parametrize("message", [None, "", "Traceback (most recent call last):", "{}", "[]", '{"status": "odd"}'])
def test_what_is_no_outcome_is_not_taken_for_one(message: str | None) -> None:
    assert Outcome.from_message(message) is None
