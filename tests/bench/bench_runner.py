"""How soon a runner begins to extract, and how much memory it takes for how many rows.

The runner runs in an environment of its own, with the packages of its image.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import environments
from bench.exports import export, loaded
from pipeline_core.settings import BigQuerySettings
from support.billing import Billing, row
from support.figures import in_turn, median, show

STARTS = 9
# Three million nested rows are more than the stand-in can hold on a machine of 24 GB.
ROWS = {"nested": (10_000, 300_000, 1_000_000), "flat": (10_000, 1_000_000, 3_000_000)}
DAY = "2026-11-01"


@pytest.mark.timeout(600)
def test_start(bigquery_settings: BigQuerySettings, tmp_path: Path) -> None:
    """Process start to the line of the log that says that the extraction begins; then the process is ended."""
    billing = Billing(bigquery_settings)
    billing.make_source([row(DAY, "1.0")])
    command, variables = environments.runner()
    variables |= {"PIPELINES_TERMINATION_LOG": str(tmp_path / "outcome"), "PIPELINES_LOG_LEVEL": "info"}

    def runner() -> None:
        # each start is a run of its own: one that had published before would have nothing to extract
        document = tmp_path / "run.json"
        document.write_text(billing.document(read="query", date=DAY).model_dump_json())
        _until('"event": "extracting"', command, variables | {"PIPELINES_RUN_DOCUMENT": str(document)})

    def python(code: str) -> Callable[[], None]:
        return lambda: _until("done", [command[0], "-c", f"{code}; import sys; print('done', file=sys.stderr)"], {})

    subjects = {
        "runner, to its extraction": runner,
        "Google's client, `import google.cloud.bigquery` alone": python("import google.cloud.bigquery"),
        "interpreter": python("pass"),
    }
    seconds = {name: median(values) for name, values in in_turn(subjects, STARTS).items()}
    show(
        f"Start, warm page cache, median of {STARTS}",
        ["process", "seconds"],
        [[name, f"{taken:.2f}"] for name, taken in seconds.items()],
    )


def _until(text: str, command: list[str], variables: dict[str, str]) -> None:
    """Start a process, wait for a line on its standard error, and end it."""
    with subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if text in line:
                break
        else:
            pytest.fail("".join(seen))
        process.kill()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["nested", "flat"])
def test_memory(kind: str, tmp_path: Path) -> None:
    lines = []
    for wanted in ROWS[kind]:
        rows, times = export(wanted, nested=kind == "nested")
        peaks = []
        for read in ("query", "storage"):
            with loaded(tmp_path, rows, times) as made:
                peaks.append(f"{made.copy(read):.0f}")
                assert made.holds_all(read)
        lines.append([f"{rows.num_rows * times:,}", *peaks])
    show(f"Peak memory of a run, MiB, {kind} columns", ["rows", "server-side query", "Storage Read"], lines)
