"""The PipelineRun of a run by HTTP: within its schema, and to the operator the same as one by `kubectl apply`."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from pipeline_bridge.run_objects import ScheduleRef, Trace, build_run, object_parameters
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.errors import ParametersInvalidError
from pipeline_core.kube.api import Json
from pipeline_core.store.runs import StoredRun
from pipeline_operator.admission import Admission
from pipeline_operator.parsing import parse_run
from pipeline_operator.tenancy import Tenancy
from support.fake_ledger import FakeFacts, FakePlans
from support.operator_world import CATALOG, T0
from support.runs import stored_run

CRD = yaml.safe_load((Path(__file__).parents[3] / "crds/pipelineruns.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
RUN_ID = "run_0f8c1e5b7a924d06b3d1c2a4e6f80917"
UID = "0f8c1e5b-7a92-4d06-b3d1-c2a4e6f80917"
TRACE = Trace("request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
SCHEDULE = ScheduleRef("default", "nightly", UID)
TEMPLATE = {"timeoutSeconds": 60, "maxRetries": 1, "priority": 5, "ttlSecondsAfterFinished": 3600}


def run(**values: Any) -> StoredRun:
    names = {"object_namespace": "runs", "object_name": RUN_ID.replace("_", "-"), "object_uid": None}
    return stored_run(RUN_ID, **{"created_at": T0, **names, **values})


def made(parameters: dict[str, object], **more: Any) -> Json:
    return build_run(run(), object_parameters(parameters), TRACE, **more)


@pytest.mark.parametrize(
    "manifest",
    [
        made({}),
        made({"date": "2026-11-21", "limit": 5, "full": True}),
        made({"date": "2026-11-21"}, schedule=SCHEDULE, template=TEMPLATE),
        made({}, cancel=True),
    ],
)
def test_every_manifest_is_within_the_schema(manifest: Json) -> None:
    jsonschema_rs.validator_for(SCHEMA).validate(manifest)
    assert manifest["spec"].keys() <= SCHEMA["properties"]["spec"]["properties"].keys()


def test_the_whole_manifest() -> None:
    assert made({"date": "2026-11-21", "full": False}, schedule=SCHEDULE, template=TEMPLATE) == {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": {
            "name": "run-0f8c1e5b7a924d06b3d1c2a4e6f80917",
            "namespace": "runs",
            "labels": {
                "pipelines.dev/org": "acme",
                "pipelines.dev/provider": "gcp",
                "pipelines.dev/run-id": RUN_ID,
                "pipelines.dev/schedule": "nightly",
            },
            "annotations": {
                "pipelines.dev/request-id": "request-1",
                "pipelines.dev/cause": "trigger",
                "pipelines.dev/traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            },
        },
        "spec": {
            "org": "acme",
            "provider": "gcp",
            "domain": "cost",
            "pipeline": "billing",
            "parameters": {"date": "2026-11-21", "full": "false"},
            "logicalTime": "2026-11-22T03:00:00Z",
            "createdBy": "key:k1",
            "quotaPolicy": "Reject",
            "runId": RUN_ID,
            "scheduleRef": {"name": "nightly", "uid": UID},
            "timeoutSeconds": 60,
            "maxRetries": 1,
            "priority": 5,
            "ttlSecondsAfterFinished": 3600,
        },
    }


def test_without_a_trace_nothing_is_said_of_one() -> None:
    manifest = build_run(run(), {}, Trace("request-1"))
    assert manifest["metadata"]["annotations"] == {"pipelines.dev/request-id": "request-1"}


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, "true"),
        (False, "false"),
        (0, 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, "9223372036854775808"),
        ("1.50", "1.50"),
        ("", ""),
        ("ü" * 1_024, "ü" * 1_024),
    ],
)
def test_parameters_take_the_form_of_the_custom_resource(value: object, stored: object) -> None:
    (found,) = object_parameters({"name": value}).values()
    assert (found, type(found)) == (stored, type(stored))


def test_what_the_api_server_would_refuse_is_refused_before() -> None:
    with pytest.raises(ParametersInvalidError, match="parameter 'note': 1025 characters; at most 1024 are allowed"):
        object_parameters({"note": "x" * 1_025})
    with pytest.raises(ParametersInvalidError, match="expected at most 64 parameters, got 65"):
        object_parameters({f"p{n}": n for n in range(65)})
    assert len(object_parameters({f"p{n}": n for n in range(64)})) == 64


@pytest.mark.parametrize(
    "parameters", [{}, {"date": "2026-11-20"}, {"start_date": "2026-11-01", "end_date": "2026-11-20"}]
)
async def test_the_operator_resolves_it_as_the_same_from_kubectl(parameters: dict[str, object]) -> None:
    by_http = made(parameters)
    by_kubectl = {
        "metadata": {"name": "billing", "namespace": "runs"},
        "spec": {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "parameters": parameters},
    }
    admission = Admission(CATALOG, FakeFacts(FakePlans()), "dev", Tenancy(None, TenancyMode.SHARED, lambda: 0.0))  # type: ignore[arg-type]
    seen = {"uid": UID, "resourceVersion": "1", "creationTimestamp": T0.strftime("%Y-%m-%dT%H:%M:%SZ")}
    documents = [
        await admission.admit(parse_run({**body, "metadata": {**body["metadata"], **seen}}))
        for body in (by_http, by_kubectl)
    ]
    assert documents[0] == documents[1]
    assert documents[0].run_id == RUN_ID
