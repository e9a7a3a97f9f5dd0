"""A run that can't be is refused: a wrong manifest by the API server, a wrong request with the specified words."""

import asyncio
import json
from typing import Any

import pytest

from support.installation import Installation, condition, manifest, refusal
from support.organizations import integrate

LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("provider", {"provider": "nowhere"}, "Unknown provider: nowhere"),
        ("pipeline", {"domain": "usage"}, "Pipeline not found: gcp/usage/billing"),
    ],
)
def test_unknown_provider_or_pipeline_fails_with_exactly_the_specified_words(
    installation: Installation, name: str, spec: dict[str, Any], message: str
) -> None:
    with installation.run(f"e2e-unknown-{name}", **spec) as run_name:
        run = installation.await_end(run_name, seconds=30)
        assert (run["status"]["phase"], run["status"]["message"]) == ("Failed", message)
        assert condition(run, "Admitted")["status"] == "False"
        assert condition(run, "Succeeded")["status"] == "False"
        assert "startedAt" not in run["status"]
        assert installation.leftovers(run["status"]["runId"]) == []
        row = installation.row(run["status"]["runId"])
    assert (row["status"], row["error_message"], row["started_at"]) == ("failed", message, None)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("parameter", {"colour": "red"}, ("colour", "start_date")),
        ("date", {"date": "2026-02-30"}, ("date", "2026-02-30")),
        ("form", {"date": "yesterday"}, ("date", "YYYY-MM-DD")),
        ("type", {"date": 20261101}, ("date",)),
        ("order", {"start_date": "2026-11-02", "end_date": "2026-11-01"}, ("end_date", "before")),
        ("both", {"date": "2026-11-01", "start_date": "2026-11-01"}, ("date", "start_date")),
        ("template", {"date": "{{yesterday}}"}, ("date", "{{yesterday}}")),
    ],
)
def test_bad_parameters_fail_naming_field_and_value(
    installation: Installation, name: str, parameters: dict[str, Any], words: tuple[str, ...]
) -> None:
    with installation.run(f"e2e-bad-{name}", parameters=parameters) as run_name:
        run = installation.await_end(run_name, seconds=30)
        status = run["status"]
        assert status["phase"] == "Failed"
        assert condition(run, "Admitted")["reason"] == "ParametersInvalid"
        assert [word for word in words if word not in status["message"]] == [], status["message"]
        assert installation.leftovers(status["runId"]) == []
        record = installation.record(status["runId"])
    assert record is not None
    assert (record.phase.word, record.error_message) == ("failed", status["message"])


def test_an_organization_without_integration_is_refused_with_the_specified_words(installation: Installation) -> None:
    asyncio.run(integrate(installation.database_url, "inactive", {}, status="INACTIVE"))
    with installation.run("e2e-no-integration", org="inactive") as name:
        run = installation.await_end(name, seconds=30)
    assert run["status"]["message"] == "gcp integration not active"
    assert condition(run, "Admitted")["reason"] == "IntegrationNotActive"


def test_an_organization_that_nobody_has_made_is_refused(installation: Installation) -> None:
    with installation.run("e2e-stranger", org="stranger") as name:
        run = installation.await_end(name, seconds=30)
    assert run["status"]["message"] == "Organization not found: stranger"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (manifest("e2e-wrong", org="Not-A-Slug"), ("spec.org",)),
        (manifest("e2e-wrong", timeoutSeconds=0), ("spec.timeoutSeconds",)),
        (manifest("e2e-wrong", pipelin="billing"), ("spec.pipelin",)),
        (manifest("e2e-wrong", parameters={"date": ["2026-11-01"]}), ("spec.parameters.date",)),
        (manifest("e2e-wrong", parameters={"note": LONG}), ("spec.parameters", "1024")),
        (manifest("e2e-wrong", provider=None), ("spec.provider",)),
    ],
    ids=["pattern", "bounds", "unknown", "list", "long", "missing"],
)
def test_a_wrong_manifest_is_refused_by_the_api_server_naming_the_field(
    installation: Installation, document: dict[str, Any], words: tuple[str, ...]
) -> None:
    document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
    message = refusal(installation.kubectl, document)
    assert [word for word in words if word not in message] == [], message
    assert len(message) < len(json.dumps(LONG))  # it doesn't throw the whole value back
