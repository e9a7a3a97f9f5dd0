"""Reading a PipelineRun: what anyone may have written in its annotations is taken only where it is well formed."""

from typing import Any

import pytest

from pipeline_operator.parsing import parse_run

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def body(annotations: Any) -> dict[str, Any]:
    metadata = {
        "name": "one",
        "namespace": "runs",
        "uid": "0a1b2c3d-0000-4000-8000-000000000000",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-22T03:00:00Z",
        "annotations": annotations,
    }
    return {"metadata": metadata, "spec": {"org": "acme"}}


def test_the_request_is_read() -> None:
    run = parse_run(body({"pipelines.dev/request-id": "req-1", "pipelines.dev/traceparent": PARENT}))
    assert (run.request_id, run.traceparent) == ("req-1", PARENT)


@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {},
        {"pipelines.dev/request-id": "two\nlines", "pipelines.dev/traceparent": "00-0-0-0"},
        {"pipelines.dev/request-id": "x" * 129, "pipelines.dev/traceparent": PARENT.upper()},
        {"pipelines.dev/request-id": "", "pipelines.dev/traceparent": ""},
    ],
)
def test_anything_else_is_left_out(annotations: Any) -> None:
    run = parse_run(body(annotations))
    assert (run.request_id, run.traceparent) == (None, None)
