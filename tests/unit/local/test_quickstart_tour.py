"""The quick start's own decisions: what the machine must have, which run it makes, what counts as equal."""

import json
import subprocess
import sys
import threading
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.catalog.loader import load_catalog
from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.quickstart import accounts, checks, commands, costs, refusal, run, source, tour
from pipeline_local.quickstart.results import Sums, differences
from pipeline_local.quickstart.run import _objects
from pipeline_local.quickstart.view import view
from pipeline_local.setup import _at_once
from pipeline_local.state import State

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("memory", "disk", "words"),
    [(8.0, 50.0, None), (8.0, None, None), (2.0, 50.0, "GiB of memory"), (8.0, 3.0, "GiB of free disk")],
)
def test_a_machine_that_is_too_small_hears_what_it_lacks(memory: float, disk: float | None, words: str | None) -> None:
    problem = checks.shortage(memory, disk)
    assert (problem is None) if words is None else (words in str(problem))


def test_the_runs_are_the_examples_with_the_days_of_the_export() -> None:
    documents = run.manifests(ROOT, date(2026, 11, 12), date(2026, 11, 21))
    assert list(documents) == list(costs.NAMES)
    assert len({document["metadata"]["name"] for document in documents.values()}) == len(documents)
    catalog = load_catalog(ROOT / "configs")
    for provider, document in documents.items():
        spec = document["spec"]
        assert (document["kind"], spec["org"], spec["provider"]) == ("PipelineRun", tour.ORG, provider)
        assert spec["parameters"] == {"start_date": "2026-11-12", "end_date": "2026-11-21"}
        assert catalog.get(provider, spec["domain"], spec["pipeline"])


def test_the_integrations_set_what_the_catalog_declares() -> None:
    providers = load_catalog(ROOT / "configs").providers
    given = {commands.PROVIDER: set(source.SETTINGS), **{each.provider: {each.setting} for each in accounts.ACCOUNTS}}
    for provider, names in given.items():
        declared = providers[provider].settings
        assert declared is not None
        assert names <= declared.keys()
        assert {name for name, setting in declared.items() if setting.default is None} <= names


def status(phase: str, message: str, reason: str) -> dict[str, Any]:
    conditions = [{"type": "Admitted", "status": "False", "reason": reason}, {"type": "Succeeded", "status": "False"}]
    return {"phase": phase, "message": message, "conditions": conditions}


class OneObject(Kubectl):
    """A cluster with one run in it, which has ended."""

    def __init__(self, paths: Paths, run_status: dict[str, Any]) -> None:
        super().__init__(paths, "runs")
        self._object = {"metadata": {"name": "r"}, "status": run_status, "items": []}

    def command(self, *arguments: str) -> list[str]:
        return ["printf", "%s\n", json.dumps(self._object, indent=2)]


def test_the_refused_run_is_the_example_of_another_organization() -> None:
    document = refusal.manifest(ROOT)
    assert (document["spec"]["org"], document["metadata"]["name"]) == (refusal.ORG, refusal.NAME)
    assert document["spec"]["pipeline"] == "billing"
    assert refusal.PLAN[refusal.PLAN.index("--per-day") + 1] == "0"


def test_a_refusal_is_shown_by_its_reason_and_message() -> None:
    refused = {"status": status("Failed", "Daily pipeline limit (0) reached", "DailyLimitReached")}
    assert refusal.check(refused) == ("DailyLimitReached", "Daily pipeline limit (0) reached")


@pytest.mark.parametrize(
    ("message", "reason"),
    [("Daily pipeline limit (0) reached", "Admitted"), ("Monthly pipeline limit (0) reached", "DailyLimitReached")],
)
def test_a_refusal_in_other_words_is_no_refusal(message: str, reason: str) -> None:
    with pytest.raises(LocalError, match="should be refused with Admitted=False"):
        refusal.check({"status": status("Failed", message, reason)})


def test_a_run_is_followed_to_the_end_that_is_expected(tmp_path: Path) -> None:
    console = Console(file=StringIO())
    kubectl = OneObject(Paths(tmp_path, tmp_path), status("Failed", "Daily limit", "DailyLimitReached"))
    assert run.follow(kubectl, {"gcp": "r"}, "label", console, ends_as="Failed")["gcp"]["status"]["phase"] == "Failed"
    with pytest.raises(LocalError, match="the run r ended as Failed: Daily limit"):
        run.follow(kubectl, {"gcp": "r"}, "label", console)


def test_a_command_that_fails_is_named_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    console = Console(file=StringIO())
    with pytest.raises(LocalError, match=r"pipelines quota show failed: .*PIPELINES_DATABASE_URL"):
        commands.pipelines(console, "quota", "show", "acme")
    assert console.file.getvalue() == "$ pipelines quota show acme\n"  # type: ignore[attr-defined]


def test_days_differ_by_their_last_digit_or_by_being_on_one_side_only() -> None:
    same, other = Sums(1, Decimal("0.1"), Decimal(0)), Sums(1, Decimal("0.100000001"), Decimal(0))
    first, second, third = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)
    assert differences({first: same}, {first: same}) == []
    assert differences({first: same, second: same}, {first: other, third: same}) == [first, second, third]


def test_a_watch_is_read_object_by_object() -> None:
    lines = ["{\n", '  "status": {\n', '    "phase": "Running"\n', "  }\n", "}\n", "{\n", "}\n", "{\n"]
    assert list(_objects(lines)) == [{"status": {"phase": "Running"}}, {}]


def test_without_a_terminal_each_change_is_a_line() -> None:
    console = Console(file=StringIO(), force_terminal=False)
    with view(console) as shown:
        shown.show("Running", 5, None)
        shown.show("Completed", 100, 59_241)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[2] for line in lines] == ["Running", "Completed"]
    assert lines[1].endswith("100 %  59,241 records")


def test_of_several_runs_each_line_names_its_own_and_none_comes_twice() -> None:
    console = Console(file=StringIO(), force_terminal=False)
    with view(console) as shown:
        for _ in range(2):
            shown.show("Running", 5, None, "gcp")
            shown.show("Running", 5, None, "openai")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[2:4] for line in lines] == [["gcp", "Running"], ["openai", "Running"]]


def test_in_a_terminal_each_run_has_its_bar() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with view(console) as shown:
        shown.show("Completed", 100, 7, "gcp")
        shown.show("Running", 5, None, "openai")
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(text in written for text in ("gcp", "Completed", "7 records", "openai", "Running"))


def test_the_truth_is_added_up_by_day_each_row_as_a_column_holds_it() -> None:
    rows = [
        {"day": "2026-11-01", "amount": "0.0000000005"},
        {"day": "2026-11-01", "amount": "0.0000000005"},
        {"day": "2026-11-02", "amount": "-1.5"},
    ]
    assert accounts.daily(rows) == {
        date(2026, 11, 1): accounts.Cost(2, Decimal("0.000000002")),
        date(2026, 11, 2): accounts.Cost(1, Decimal("-1.5")),
    }


class Service(OneObject):
    """A cluster with the dev services in it."""

    def attempt(self, *arguments: str, manifest: Any = None) -> subprocess.CompletedProcess[str]:
        ports = [{"name": "bigquery", "port": 9050}, {"name": "simulators", "port": 9070}]
        assert arguments[:3] == ("get", "service", "pipelines-dev-services")
        return subprocess.CompletedProcess([], 0, json.dumps({"spec": {"ports": ports}}), "")


@pytest.mark.parametrize(
    ("backend", "address"), [("embedded", "http://127.0.0.1:1"), ("kind", "http://pipelines-dev-services:9070")]
)
def test_the_simulators_are_where_the_pods_reach_them(tmp_path: Path, backend: str, address: str) -> None:
    state = State(tmp_path)
    state.set_exports(PIPELINES_SIMULATORS_URL="http://127.0.0.1:1")
    cluster: Any = SimpleNamespace(name=backend)
    assert accounts.seen_by_pods(cluster, Service(Paths(tmp_path, tmp_path), {}), state) == address


def test_the_first_failure_is_raised_without_waiting_for_the_other() -> None:
    release = threading.Event()

    def fail() -> None:
        raise LocalError("no room")

    try:
        with pytest.raises(LocalError, match="no room"):
            _at_once(lambda: release.wait(30), fail)
    finally:
        release.set()


def test_both_results_are_given_in_order() -> None:
    assert _at_once(lambda: 1, lambda: "two") == (1, "two")


def test_an_error_is_a_sentence_and_the_exit_code_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Console) -> None:
        raise LocalError("the run ended as Failed")

    monkeypatch.setattr(tour, "tour", fail)
    result = CliRunner().invoke(app, ["quickstart"])
    assert (result.exit_code, result.output.strip()) == (1, "error: the run ended as Failed")


def test_an_interrupt_is_a_sentence_and_the_exit_code_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: Console) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tour, "tour", interrupt)
    result = CliRunner().invoke(app, ["quickstart"])
    assert result.exit_code == 130
    assert "goes on from here" in result.output


def test_the_command_line_loads_no_data_libraries_before_the_quick_start() -> None:
    heavy = {"numpy", "pyarrow", "google.cloud.bigquery"}
    code = f"import sys, pipeline_cli.main; print(*sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == ""
