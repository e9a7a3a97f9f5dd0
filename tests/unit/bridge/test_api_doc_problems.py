"""docs/api.md lists every problem that the bridge can answer with, with its status, and no other."""

import ast
import re
from pathlib import Path

import pipeline_bridge
from pipeline_bridge import problems
from pipeline_bridge.problem_examples import EXAMPLES
from support.api_page import Page, read_steps

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
ROW = re.compile(r"^\| (\d{3}) \| (\w+) \| .+ \| .+ \|$", re.MULTILINE)
# Raised with a status and a reason that aren't words in the code.
ELSEWHERE = {(503, "StoreUnavailable"), (408, "RequestTimeout")}


def raised() -> set[tuple[int, str]]:
    """Status and reason of every `Problem(404, "RunNotFound", …)` in the code."""
    found = set()
    for path in Path(pipeline_bridge.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Problem"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(reason)), *_],
                ):
                    found.add((status, reason))
    return found


def test_the_table_has_every_problem() -> None:
    of_the_domain = {(status, reason) for reason, status in problems._STATUS.items() if reason != "RunNotRecorded"}
    assert {(int(status), reason) for status, reason in ROW.findall(PAGE)} == raised() | of_the_domain | ELSEWHERE


def test_the_examples_of_the_description_are_among_them() -> None:
    described = {(status, each.reason) for status, examples in EXAMPLES.items() for each in examples}
    assert described <= {(int(status), reason) for status, reason in ROW.findall(PAGE)}


def test_every_request_of_the_page_can_be_sent() -> None:
    for step in read_steps(PAGE):
        request = Page().request(step, {"PIPELINES_BRIDGE_URL": "http://bridge", "PIPELINES_API_KEY": "plk_a_b"})
        assert str(request.url).startswith("http://bridge/api/v1/"), step.name
