"""A runner's start loads no package that only some runs need: each costs every run its import."""

import subprocess
import sys

import pytest

NEEDED_BY_SOME = ["croniter", "google.cloud.bigquery_storage_v1", "numpy", "opentelemetry", "pandas", "pyarrow", "yaml"]
PROGRAM = """
import sys
import pipeline_runner.main
import pipeline_runner.processors.{module}
print(*sys.modules)
"""


@pytest.mark.parametrize("module", ["anthropic.usage_processor", "gcp.external_bq_extractor", "openai.usage_processor"])
def test_a_start_loads_no_package_that_only_some_runs_need(module: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert "google.cloud.bigquery" in loaded
    assert [name for name in NEEDED_BY_SOME if name in loaded] == []
