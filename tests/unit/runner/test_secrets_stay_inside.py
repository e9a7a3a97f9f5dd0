"""Whatever a processor does with its key, the process's output, log and outcome don't hold it; nor do env and argv."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Of no known shape, so that only what the process itself knows can mask it.
KEY = 'canary/5xQ2v9"LrT7w+Zk8'

PROCESSOR = """
import asyncio, base64, logging, os, sys, types, warnings
from urllib.parse import quote
import structlog
from pipeline_runner.errors import ConfigError, DataError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult

class Fake(BaseProcessor):
    async def extract(self, parameters):
        key = self.credentials.secret("api_key").get_secret_value()
        structlog.get_logger("ours").info(f"asked with {{key}}", headers={{"x": [key]}}, raw=key.encode(), **{{key: 1}})
        logging.getLogger("theirs").warning("%s and %r", key, {{"url": "https://host/?k=" + quote(key, safe="")}})
        warnings.warn(base64.b64encode(b"user:" + key.encode()).decode())
        assert not [name for name, value in os.environ.items() if key in value or key in name]
        assert key not in open("/proc/self/cmdline").read()
        print("printed", key, file=sys.stderr)
        print(key[:9], end="")
        print(key[9:])
        sys.stdout.write(key + " without an end")
        logging.getLogger("theirs").warning("asked")
        {end}
    async def load(self, data):
        return ProcessorResult(3, {{"key": data}})

module = types.ModuleType("pipeline_runner.processors.fake")
module.Fake = Fake
sys.modules[module.__name__] = module
from pipeline_runner.main import run_and_exit
run_and_exit()
"""


def run(folder: Path, end: str, **changes: object) -> tuple[int, str, dict[str, str]]:
    """The exit code, all that the process wrote, and its outcome."""
    mount = folder / "credentials"
    mount.mkdir()
    (mount / "api_key").write_text(f"{KEY}\n")
    document = {
        "run_id": "run_ab12", "org_slug": "acme", "env": "test", "provider": "openai", "domain": "cost",
        "pipeline": "usage", "logical_time": "2026-11-22T00:00:00Z", "parameters": {}, "timeout_seconds": 60,
        "max_retries": 0, "credential_secret": "acme-openai", "config": {
            "processor": {"class": "Fake", "module": "pipeline_runner.processors.fake"},
            "target": {"dataset": "acme_test", "table": "t"},
        },
    } | changes  # fmt: skip
    (folder / "run.json").write_text(json.dumps(document))
    log = folder / "termination-log"
    environment = {
        **os.environ,
        "PIPELINES_RUN_DOCUMENT": str(folder / "run.json"),
        "PIPELINES_TERMINATION_LOG": str(log),
        "PIPELINES_CREDENTIALS_DIRECTORY": str(mount),
        "PIPELINES_LOG_LEVEL": "debug",
    }
    command = [sys.executable, "-c", PROCESSOR.format(end=end)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr, json.loads(log.read_text())


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("return key", 0),
        ("raise ConfigError(f'401: {key} is no key')", 78),
        ("raise ConfigError(f'401: {key[:20]!r:.18} is no key')", 78),
        ("raise DataError(repr({'sent': {'Authorization': key}}))", 65),
        ("raise ValueError(key) from RuntimeError('https://host/?k=' + quote(key, safe=''))", 70),
        ("sys.exit(key)", 70),
    ],
)
def test_neither_success_nor_any_failure_tells_the_key(tmp_path: Path, end: str, code: int) -> None:
    returned, written, outcome = run(tmp_path, end)
    assert returned == code, written
    assert "[redacted]" in written
    assert "\nprinted [redacted]\n" in written
    assert written.startswith("[redacted]\n[redacted] without an end")
    for text in (written, json.dumps(outcome)):
        for form in (
            KEY,
            json.dumps(KEY)[1:-1],
            KEY[:17],
            "canary%2F5xQ2v9",
            base64.b64encode(KEY.encode())[4:24].decode(),
        ):
            assert form not in text
    if code:
        assert "[redacted]" in outcome["error"]


def test_every_line_stays_json(tmp_path: Path) -> None:
    _, written, _ = run(tmp_path, "return key")
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert {line["logger"] for line in lines} >= {"ours", "theirs", "py.warnings"}


def test_a_field_that_is_missing_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    returned, _, outcome = run(tmp_path, "self.credentials.secret('other')")
    assert returned == 78
    assert outcome["error"] == "Fake: the Secret acme-openai has no field other; it has api_key"
