"""The runner's process always says how it ended: by its exit code, and by an outcome in the termination log."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_runner import main
from pipeline_runner.execution import execute
from pipeline_runner.processors.base import BaseProcessor
from pipeline_runner.progress import Progress

PROCESSOR = """
import asyncio, os, sys, time, types
from pipeline_runner.errors import ConfigError, DataError, TransientError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult

class Fake(BaseProcessor):
    async def extract(self, parameters):
        {extract}
    async def load(self, data):
        {load}
    async def close(self):
        print("closed", flush=True)

module = types.ModuleType("pipeline_runner.processors.fake")
module.Fake = Fake
sys.modules[module.__name__] = module
from pipeline_runner.main import run_and_exit
run_and_exit()
"""


class Runner:
    def __init__(self, folder: Path) -> None:
        self.document = folder / "run.json"
        self.log = folder / "termination-log"
        self.environment = {**os.environ, "PIPELINES_RUN_DOCUMENT": str(self.document)}
        self.environment["PIPELINES_TERMINATION_LOG"] = str(self.log)

    def write(self, **changes: object) -> None:
        document: dict[str, object] = {
            "run_id": "run_ab12", "org_slug": "acme", "env": "test", "provider": "gcp", "domain": "cost",
            "pipeline": "billing", "logical_time": "2026-11-22T00:00:00Z", "parameters": {}, "timeout_seconds": 60,
            "max_retries": 0, "config": {
                "processor": {"class": "Fake", "module": "pipeline_runner.processors.fake"},
                "target": {"dataset": "acme_test", "table": "t"},
            },
        }  # fmt: skip
        self.document.write_text(json.dumps(document | changes))

    def start(self, extract: str, load: str = "return ProcessorResult(3)") -> subprocess.Popen[str]:
        program = PROCESSOR.format(extract=extract, load=load)
        return subprocess.Popen(
            [sys.executable, "-c", program], env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def outcome(self) -> Outcome:
        outcome = Outcome.from_message(self.log.read_text())
        assert outcome is not None
        return outcome


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    made = Runner(tmp_path)
    made.write()
    return made


def test_success_is_0_with_records_and_stages(runner: Runner) -> None:
    process = runner.start("return None")
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "closed\n")
    outcome = runner.outcome()
    assert (outcome.status, outcome.records_processed, outcome.error) == ("succeeded", 3, None)
    assert set(outcome.stages) == {"validate", "extract", "transform", "load"}
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines
    assert all(line["run_id"] == "run_ab12" for line in lines)
    assert not any({"request_id", "traceparent"} & line.keys() for line in lines)


def test_a_processor_works_with_garbage_collection_that_passes_over_what_was_imported(runner: Runner) -> None:
    whole = PROCESSOR.format(
        extract="import gc; print(gc.isenabled(), gc.get_freeze_count() > 10_000, flush=True)",
        load="return ProcessorResult(3)",
    )
    # by the module's own way in, where it is put off
    program = whole.partition("from pipeline_runner.main")[0] + "import runpy; runpy.run_module('pipeline_runner', "
    program += "run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=runner.environment, text=True, capture_output=True, check=True, timeout=30
    )
    assert done.stdout == "True True\nclosed\n"


def test_every_line_names_the_request_that_asked_for_the_run(runner: Runner) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    runner.environment |= {"PIPELINES_REQUEST_ID": "req-1", "TRACEPARENT": parent}
    _, errors = runner.start("return None").communicate(timeout=30)
    told = [(line["request_id"], line["traceparent"]) for line in map(json.loads, errors.splitlines())]
    assert told
    assert set(told) == {("req-1", parent)}


@pytest.mark.parametrize(
    ("extract", "load", "code", "error"),
    [
        ("raise TransientError('BigQuery is away')", "pass", 75, "Fake: BigQuery is away"),
        ("raise ConfigError('no such table')", "pass", 78, "Fake: no such table"),
        ("raise DataError('a column changed')", "pass", 65, "Fake: a column changed"),
        (f"raise ConfigError('bad key sk-ant-{'x' * 20}')", "pass", 78, "Fake: bad key [redacted]"),
        ("raise ValueError('what')", "pass", 70, "Fake: ValueError: what"),
        ("raise MemoryError", "pass", 70, "Fake: out of memory"),
        ("raise asyncio.CancelledError", "pass", 70, "Fake: CancelledError: cancelled from within"),
        ("raise DataError('caf' + chr(0xDCE9) + '.csv')", "pass", 65, "Fake: caf?.csv"),
        ("raise ValueError(chr(0xD800))", "pass", 70, "Fake: ValueError: ?"),
        ("sys.exit(0)", "pass", 70, "Fake: exited with 0 without an outcome"),
        ("pass", "return {'rows': 3}", 70, "Fake: TypeError: execute() returned dict, expected ProcessorResult"),
        ("pass", "return ProcessorResult(-1)", 70, "Fake: TypeError: records_processed is -1, expected a whole number"),
        ("pass", "return ProcessorResult('many')", 70, "Fake: TypeError: records_processed is 'many', expected"),
    ],
)
def test_failures_have_their_codes(runner: Runner, extract: str, load: str, code: int, error: str) -> None:
    process = runner.start(extract, load)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert output == "closed\n"
    outcome = runner.outcome()
    assert outcome.status == "failed"
    assert (outcome.error or "").startswith(error)
    failures = [line for line in map(json.loads, errors.splitlines()) if line["event"] == "run failed"]
    assert [(line["error"], line["exit_code"], line["run_id"]) for line in failures] == [
        (outcome.error, code, "run_ab12")
    ]


def test_a_defect_is_logged_with_the_place_where_it_was_raised(runner: Runner) -> None:
    _, errors = runner.start("raise ValueError('what')").communicate(timeout=30)
    (told,) = (line for line in map(json.loads, errors.splitlines()) if "exception" in line)
    assert told["event"] == "the processor raised what it shouldn't"
    assert "in extract" in str(told["exception"])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_sigterm_cancels_tidies_up_and_is_143(runner: Runner, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = runner.start(f"open({str(ready)!r}, 'w').close(); await asyncio.sleep(60)")
    wait_for(ready.exists)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (143, "closed\n")
    assert time.monotonic() - started < 5
    assert runner.outcome().status == "terminated"


@pytest.mark.full  # it waits for the last resort, 9.5 s
def test_a_processor_that_blocks_is_left_behind_within_ten_seconds(runner: Runner, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = runner.start(f"open({str(ready)!r}, 'w').close(); exec('while True: time.sleep(0.05)')")
    wait_for(ready.exists)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - started < 11
    assert runner.outcome().status == "terminated"


@pytest.mark.parametrize("document", ["", "{", "[]", '{"run_id": "run_ab12"}', '{"run_id": "../../etc"}'])
def test_a_broken_document_is_78(runner: Runner, document: str) -> None:
    runner.document.write_text(document)
    process = runner.start("return None")
    process.communicate(timeout=30)
    assert process.returncode == 78
    assert "the run document" in (runner.outcome().error or "")


def test_no_document_is_78(runner: Runner) -> None:
    runner.document.unlink()
    process = runner.start("return None")
    process.communicate(timeout=30)
    assert process.returncode == 78


@pytest.mark.parametrize(
    "processor",
    [
        {"class": "Popen", "module": "subprocess"},
        {"class": "Fake", "module": "pipeline_runner.processors..os"},
        {"class": "Fake", "module": "pipeline_runner.processors.nothing"},
        {"class": "BaseException", "module": "pipeline_runner.processors.fake"},
        None,
    ],
)
def test_what_is_no_processor_is_78(runner: Runner, processor: object) -> None:
    runner.write(config={"processor": processor, "target": {"dataset": "acme_test"}})
    process = runner.start("return None")
    process.communicate(timeout=30)
    assert process.returncode == 78
    assert "processor" in (runner.outcome().error or "")


async def test_a_constructor_that_cancels_itself_is_70(runner: Runner) -> None:
    def load(config: object) -> type[BaseProcessor]:
        raise asyncio.CancelledError

    document = RunDocument.model_validate_json(runner.document.read_bytes())
    outcome, code = await execute(document, Progress(), load=load)
    assert (outcome.status, code) == ("failed", ExitCode.INTERNAL)


def test_another_organizations_dataset_is_78(runner: Runner) -> None:
    processor = {"class": "Fake", "module": "pipeline_runner.processors.fake"}
    runner.write(config={"processor": processor, "target": {"dataset": "globex_test"}})
    process = runner.start("return None")
    process.communicate(timeout=30)
    assert process.returncode == 78
    assert "target.dataset: expected acme_test" in (runner.outcome().error or "")


def test_a_log_that_cannot_be_written_leaves_the_code(runner: Runner, tmp_path: Path) -> None:
    runner.environment["PIPELINES_TERMINATION_LOG"] = str(tmp_path / "no" / "such" / "folder")
    process = runner.start("raise DataError('bad')")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 65
    assert "the outcome can't be written" in errors


def test_an_outcome_that_cannot_be_made_leaves_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Outcome) -> str:
        raise ValueError("no message")

    monkeypatch.setattr(Outcome, "to_message", broken)
    assert main._end(tmp_path / "log", Outcome(status="failed", error="bad"), ExitCode.DATA) is ExitCode.DATA


def test_wrong_settings_are_78(runner: Runner) -> None:
    runner.environment["PIPELINES_LOG_LEVEL"] = "loud"
    process = runner.start("return None")
    process.communicate(timeout=30)
    assert process.returncode == 78
    assert "loud" in (runner.outcome().error or "")
