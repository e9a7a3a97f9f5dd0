"""Requests for runs, as the operator reads them from a PipelineRun."""

from datetime import UTC, datetime
from typing import Any

from pipeline_core.resolve import RunRequest


def run_request(pipeline: str = "gcp/cost/billing", **values: Any) -> RunRequest:
    """A run of acme's, of the pipeline that the catalog has at `provider/domain/name`, or as `values` say."""
    provider, domain, name = pipeline.split("/")
    return RunRequest(
        **{
            "run_id": "run_ab12",
            "org_slug": "acme",
            "provider": provider,
            "domain": domain,
            "pipeline": name,
            "parameters": {},
            "logical_time": datetime(2026, 3, 1, 4, 5, tzinfo=UTC),
            **values,
        }
    )
