"""Only a well-formed request id, and a well-formed place in a trace, is taken from what anyone may have written."""

import pytest

from pipeline_core import tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("value", ["a", "A-b.c_9", "x" * 128])
def test_request_ids(value: str) -> None:
    assert tracing.request_id(value) == value


@pytest.mark.parametrize("value", [None, "", "x" * 129, "a b", "a\n", "é", "a/b", '"'])
def test_what_is_no_request_id(value: str | None) -> None:
    assert tracing.request_id(value) is None


def test_a_place_in_a_trace() -> None:
    assert tracing.traceparent(PARENT) == PARENT


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        PARENT.upper(),
        PARENT + "\n",
        PARENT + "-00",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        PARENT.replace("4", "٤"),
    ],
)
def test_what_is_no_place_in_a_trace(value: str | None) -> None:
    assert tracing.traceparent(value) is None
