"""The description of the API: it is checked in as the endpoints say it, complete, and true of what they answer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_bridge import openapi
from pipeline_bridge.app import BridgeApp
from support.bridge import Bridge

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"
DESCRIBED: dict[str, Any] = BridgeApp().openapi()
JSON = "application/json"
PROBLEM = "application/problem+json"


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in DESCRIBED["paths"].items()
        for method, operation in methods.items()
    ]


OPERATIONS = pytest.mark.parametrize(
    "operation", [operation for _, operation in operations()], ids=[name for name, _ in operations()]
)


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(each)


def test_the_document_is_what_the_endpoints_say() -> None:
    assert DOCUMENT.read_text() == openapi.text(), "run `make sync`"


def test_it_is_the_same_each_time() -> None:
    command = [sys.executable, "-c", "from pipeline_bridge.openapi import text; print(text(), end='')"]
    again = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={"PYTHONHASHSEED": "7"})
    assert again.stdout == openapi.text()
    assert again.stdout.endswith("}\n")


def test_check_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "openapi.json"
    assert openapi.main(["--check", str(path)]) == 1
    assert capsys.readouterr().err == f"{path} isn't what the endpoints say: run `make sync`\n"
    assert openapi.main([str(path)]) == 0
    assert openapi.main(["--check", str(path)]) == 0
    path.write_text(path.read_text().replace("start_run", "run_start"))
    assert openapi.main(["--check", str(path)]) == 1


def test_the_head() -> None:
    assert DESCRIBED["openapi"].startswith("3.1")
    assert DESCRIBED["info"]["title"] == "Pipelines API"
    assert "servers" not in DESCRIBED, "relative to where it is served"
    (scheme,) = DESCRIBED["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    tags = {tag["name"] for tag in DESCRIBED["tags"]}
    assert {tag for _, operation in operations() for tag in operation["tags"]} == tags


def test_every_operation_is_there_once_under_the_prefix() -> None:
    assert all(path.startswith("/api/v1/") for path in DESCRIBED["paths"])
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name.islower() for name in names)


def test_every_reference_leads_somewhere() -> None:
    for node in walk(DESCRIBED):
        if isinstance(node.get("$ref"), str):
            found: Any = DESCRIBED
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]


@OPERATIONS
def test_an_operation_is_described(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert len(operation["description"]) > 40
    for parameter in operation.get("parameters", ()):
        assert parameter["description"], parameter["name"]
        if parameter["in"] == "path":
            assert parameter["schema"]["examples"], parameter["name"]
    body = operation.get("requestBody", {}).get("content", {})
    assert all(each["examples"] for each in body.values())


@OPERATIONS
def test_its_answers_have_examples(operation: dict[str, Any]) -> None:
    for status, answer in operation["responses"].items():
        assert answer["description"], status
        for kind, content in answer.get("content", {}).items():
            assert examples(content), f"{status} {kind}"


def examples(node: dict[str, Any]) -> bool:
    """Whether an example of it is given, or follows from those of the fields that are always there."""
    if node.keys() & {"example", "examples", "const"}:
        return True
    if "$ref" in node:
        return examples(DESCRIBED["components"]["schemas"][node["$ref"].rpartition("/")[2]])
    if "schema" in node:
        return examples(node["schema"])
    if "items" in node:
        return examples(node["items"])
    required = [node["properties"][name] for name in node.get("required", ())]
    return bool(required) and all(map(examples, required))


@OPERATIONS
def test_its_refusals_are_problems(operation: dict[str, Any]) -> None:
    refusals = {int(status): each for status, each in operation["responses"].items() if int(status) >= 400}
    # What any endpoint can answer: an unknown query parameter, a service that is away.
    expected = {422, 503} | ({401, 403, 429} if "security" in operation else set())
    expected |= {400, 413} if "requestBody" in operation else set()
    assert refusals.keys() >= expected
    for status, answer in refusals.items():
        content = answer["content"]
        assert list(content) == [PROBLEM], status
        assert content[PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
        for example in content[PROBLEM]["examples"].values():
            check(example["value"], status)
    assert "WWW-Authenticate" in refusals.get(401, {"headers": "WWW-Authenticate"})["headers"]
    for status in {429, 503} & refusals.keys():
        assert "Retry-After" in refusals[status]["headers"]


def check(problem: dict[str, Any], status: int) -> None:
    schema = DESCRIBED["components"]["schemas"]["Problem"]
    assert set(schema["required"]) <= problem.keys() <= schema["properties"].keys()
    assert problem["status"] == status
    assert problem["instance"].startswith("/api/v1/")


def test_problems_that_are_answered_have_described_members_only() -> None:
    assert DESCRIBED["components"]["schemas"]["Problem"]["required"] == [
        "type", "title", "status", "detail", "instance", "request_id"
    ]  # fmt: skip
    left = {"HTTPValidationError", "ValidationError"} & DESCRIBED["components"]["schemas"].keys()
    assert not left


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_it_is_served_as_it_is_checked_in(prefix: str) -> None:
    async with Bridge().client() as client:
        answer = await client.get(f"{prefix}/openapi.json")
    assert answer.json() == json.loads(openapi.text())
