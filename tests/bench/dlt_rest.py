"""The baseline of bench_providers: dlt's REST source. Run by an environment of its own that has dlt in it.

dlt is configured as its documentation has it: a cursor paginator, and a page as large as the provider allows. It
replaces its tables whole; what it is spared here is replacing days, and comparing what arrived.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dlt
from dlt.common.configuration.specs import GcpServiceAccountCredentials
from dlt.sources.rest_api import rest_api_source
from google.auth.credentials import AnonymousCredentials

_MODEL = ["project_id", "user_id", "api_key_id", "model"]
OPENAI = {
    "completions": [*_MODEL, "batch", "service_tier"],
    "embeddings": _MODEL,
    "moderations": _MODEL,
    "images": [*_MODEL, "size", "source"],
    "audio_speeches": _MODEL,
    "audio_transcriptions": _MODEL,
    "vector_stores": ["project_id"],
    "code_interpreter_sessions": ["project_id"],
    "file_search_calls": ["project_id", "user_id", "api_key_id"],
    "web_search_calls": _MODEL,
}
ANTHROPIC = ["api_key_id", "workspace_id", "model", "service_tier", "context_window"]


def main(provider: str, base_url: str, first: str, last: str, dataset: str, how: str) -> None:
    """Read the days `first` to `last` (included), usage by the hour, into tables of `dataset`, in place of theirs.

    `how`: `parallel` has it read up to five resources at once, which isn't its default.
    """
    project = os.environ["PIPELINES_BIGQUERY_PROJECT"]
    # the stand-in knows no credentials, and dlt none that are anonymous
    GcpServiceAccountCredentials.to_native_credentials = lambda _: AnonymousCredentials()
    credentials = GcpServiceAccountCredentials(project_id=project, private_key="none", client_email="none@localhost")
    destination = dlt.destinations.bigquery(credentials=credentials, location="US")
    config = {"openai": _openai, "anthropic": _anthropic}[provider](
        base_url, date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)
    )
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline("bench", pipelines_dir=folder, destination=destination, dataset_name=dataset)
        source = rest_api_source(config, parallelized=how == "parallel")
        pipeline.run(source, write_disposition="replace").raise_on_failed_jobs()


def _openai(base_url: str, start: date, end: date) -> dict[str, Any]:
    window = {"start_time": _unix(start), "end_time": _unix(end)}
    costs = {**window, "bucket_width": "1d", "limit": 180, "group_by[]": ["project_id", "line_item"]}
    resources = [_resource("costs", "v1/organization/costs", costs)]
    for name, group_by in OPENAI.items():
        params = {**window, "bucket_width": "1h", "limit": 168, "group_by[]": group_by}
        resources.append(_resource(name, f"v1/organization/usage/{name}", params))
    return {"client": _client(base_url, {"Authorization": f"Bearer {os.environ['API_KEY']}"}), "resources": resources}


def _anthropic(base_url: str, start: date, end: date) -> dict[str, Any]:
    window = {"starting_at": f"{start}T00:00:00Z", "ending_at": f"{end}T00:00:00Z"}
    costs = {**window, "bucket_width": "1d", "limit": 31, "group_by[]": ["workspace_id", "description"]}
    usage = {**window, "bucket_width": "1h", "limit": 168, "group_by[]": ANTHROPIC}
    headers = {"x-api-key": os.environ["API_KEY"], "anthropic-version": "2023-06-01"}
    return {
        "client": _client(base_url, headers),
        "resources": [
            _resource("costs", "v1/organizations/cost_report", costs),
            _resource("usage", "v1/organizations/usage_report/messages", usage),
        ],
    }


def _client(base_url: str, headers: dict[str, str]) -> dict[str, Any]:
    paginator = {"type": "cursor", "cursor_path": "next_page", "cursor_param": "page"}
    return {"base_url": f"{base_url}/", "headers": headers, "paginator": paginator}


def _resource(name: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"path": path, "params": params, "data_selector": "data"}
    return {"name": name, "endpoint": endpoint, "processing_steps": [{"yield_map": _rows}]}


def _rows(bucket: dict[str, Any]) -> Iterator[dict[str, Any]]:
    start = bucket.get("start_time", bucket.get("starting_at"))
    for result in bucket["results"]:
        yield {"bucket_start": start, **result}


def _unix(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


if __name__ == "__main__":
    main(*sys.argv[1:])
