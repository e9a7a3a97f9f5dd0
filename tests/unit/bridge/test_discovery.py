"""What can be found out of the catalog without a key."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_core.catalog.watcher import CatalogWatcher
from support.bridge import Bridge
from support.operator_world import CONFIGS

BILLING = CONFIGS / "gcp" / "cost" / "billing.yml"


def pipeline(**more: Any) -> dict[str, Any]:
    """The least that a config says."""
    return {
        "pipeline": {"name": "gcp_credits", "provider": "gcp", "domain": "cost"},
        "processor": {"class": "Credits", "module": "pipeline_runner.processors.gcp.credits"},
        "target": {"dataset": "{{org_slug}}_{{env}}", "table": "credits"},
        **more,
    }


def write(directory: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    providers = yaml.safe_load((CONFIGS / "system" / "providers.yml").read_text())
    parameters = {
        "days": {"type": "integer", "required": True, "description": "How many."},
        "ratio": {"type": "number", "default": 0.1},
        "dry": {"type": "boolean", "default": False},
    }
    bare = pipeline(pipeline={"name": "alone", "provider": "gcp", "domain": "cost"})
    write(
        tmp_path,
        {
            "system/providers.yml": providers,
            "gcp/cost/credits.yml": pipeline(parameters=parameters),
            "gcp/cost/alone.yml": bare,
            "gcp/cost/billing.yml": yaml.safe_load(BILLING.read_text()),
        },
    )
    return tmp_path


async def get(bridge: Bridge, path: str = "", **headers: str) -> Any:
    async with bridge.client() as client:
        return await client.get(f"/api/v1/validator/pipelines{path}", headers=headers)


async def test_pipelines_are_shown_without_a_key() -> None:
    answer = await get(Bridge())
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    found = {each["name"]: each for each in answer.json()["pipelines"]}
    assert list(found) == ["anthropic_usage_cost", "gcp_billing", "gcp_detailed_billing", "openai_usage_cost"]
    billing = found["gcp_billing"]
    assert billing["display_name"] == "GCP Billing Extraction"
    assert (billing["provider"], billing["domain"]) == ("gcp", "cost")
    # Dates, though the file says string: that is what a run takes.
    assert billing["parameters"][0] == {
        "name": "date",
        "type": "date",
        "required": False,
        "default": "{{yesterday}}",
        "description": "The one day to copy, in UTC. Unless it is named, days before it that have changed are copied "
        "as well.",
    }
    assert [parameter["name"] for parameter in billing["parameters"]] == ["date", "start_date", "end_date"]
    assert "default" not in billing["parameters"][1]


async def test_they_come_sorted_and_without_what_a_file_leaves_out(configs: Path) -> None:
    answer = await get(Bridge(catalog=CatalogWatcher(configs)))
    alone, billing, credit = answer.json()["pipelines"]
    assert alone == {"name": "alone", "display_name": "alone", "provider": "gcp", "domain": "cost"}
    assert billing["name"] == "gcp_billing"
    assert credit["parameters"] == [
        {"name": "days", "type": "integer", "required": True, "description": "How many."},
        {"name": "ratio", "type": "number", "required": False, "default": 0.1},
        {"name": "dry", "type": "boolean", "required": False, "default": False},
    ]


async def test_a_provider_has_its_own_pipelines_or_none_yet(configs: Path) -> None:
    bridge = Bridge(catalog=CatalogWatcher(configs))
    assert (await get(bridge, "/gcp")).json() == (await get(bridge)).json()
    assert (await get(bridge, "/openai")).json() == {"pipelines": []}


async def test_an_unknown_provider_is_told_in_the_specifications_words() -> None:
    answer = await get(Bridge(), "/gcq")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == "Unknown provider: gcq"
    assert (await get(Bridge(), "/" + "x" * 500)).json()["detail"] == "Unknown provider: " + "x" * 64


async def test_who_has_the_list_is_told_so() -> None:
    bridge = Bridge()
    first = await get(bridge)
    etag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "no-cache"
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = await get(bridge, **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    for other in ('"other"', etag.strip('"'), ""):
        assert (await get(bridge, **{"If-None-Match": other})).status_code == 200
    # Every replica says the same of the same list, and another list has another tag.
    assert (await get(Bridge())).headers["ETag"] == etag
    assert (await get(bridge, "/openai")).headers["ETag"] != etag


async def test_a_changed_catalog_is_seen_at_once(configs: Path) -> None:
    bridge = Bridge(catalog=CatalogWatcher(configs))
    etag = (await get(bridge)).headers["ETag"]
    (configs / "gcp" / "cost" / "alone.yml").unlink()
    os.utime(configs / "gcp" / "cost")
    answer = await get(bridge, **{"If-None-Match": etag})
    assert answer.status_code == 200
    assert [found["name"] for found in answer.json()["pipelines"]] == ["gcp_billing", "gcp_credits"]


async def test_a_catalog_that_was_never_good_is_away(tmp_path: Path) -> None:
    answer = await get(Bridge(catalog=CatalogWatcher(tmp_path)))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert str(tmp_path) not in json.dumps(answer.json())


async def test_a_query_that_nobody_reads_is_refused_by_name() -> None:
    answer = await get(Bridge(), "?provider=gcp")
    assert answer.status_code == 422
    assert "provider" in answer.json()["detail"]
