"""docs/adding-a-processor.md, followed word by word: its files and commands make a package, whose runs fill a table."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud import bigquery

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.outcome import ExitCode
from pipeline_core.resolve import resolve_run
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from support.invoice_api import KEY, InvoiceApi, invoice_api, line
from support.run_requests import run_request
from support.runner_process import variables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/adding-a-processor.md").read_text()
# A path in a paragraph of its own, and the file below it.
_FILE = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_DONE = "-- done:"
FILES = dict(_FILE.findall(PAGE))
PACKAGE, MODULE = "pipelines-hostly", "pipelines_hostly.invoices"
TABLE = "hostly_invoice_lines"


@dataclass(frozen=True)
class Command:
    """A command of the page, and what the page says that it writes; None where it doesn't say."""

    text: str
    output: str | None


def commands() -> list[Command]:
    """All commands of the page, in its order."""
    found = []
    for block in _CONSOLE.findall(PAGE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, output = part.partition("\n")
            found.append(Command(text, output.strip() or None))
    return found


@pytest.fixture
def api() -> Iterator[InvoiceApi]:
    with invoice_api() as made:
        made.lines = [
            line(1, "2026-10-31", "0.10"),
            line(2, "2026-11-01", "3.48"),
            line(3, "2026-11-01", "0.000000001", product={"name": "Traffic", "region": "north"}),
            line(4, "2026-11-02", "-1.5"),
            line(5, "2026-11-02", "12345678901234567890.123456789"),
            line(6, "2026-11-03", "7"),
        ]
        yield made


def machine(home: Path) -> dict[str, str]:
    """What the page takes for granted: `pipelines` on the path, and here no package index."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying that it is off
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.fixture
def environment(api: InvoiceApi, bigquery_settings: BigQuerySettings, tmp_path: Path) -> dict[str, str]:
    """The machine, with BigQuery and Hostly."""
    hostly = {"PIPELINES_API_HOSTS": "http://127.0.0.1:*", "HOSTLY_API_KEY": KEY, "HOSTLY_URL": api.url}
    return machine(tmp_path) | hostly


def written(root: Path) -> Path:
    """The folder, with the page's files in it."""
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The page's folder with the page's files."""
    return written(tmp_path / PACKAGE)


class Dataset:
    """The organization's dataset, empty."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.client = bigquery_client(settings)
        self.name = f"{settings.project}.acme_dev"
        self.client.delete_dataset(self.name, delete_contents=True, not_found_ok=True)
        self.client.create_dataset(bigquery.Dataset(self.name))

    def rows(self, table: str = TABLE, order: str = "usage_date, amount") -> list[dict[str, Any]]:
        statement = f"SELECT * FROM `{self.name}.{table}` ORDER BY {order}"
        return [dict(each) for each in self.client.query(statement, job_retry=None).result(timeout=60)]

    def amounts(self) -> dict[date, list[Decimal]]:
        found: dict[date, list[Decimal]] = {}
        for row in self.rows():
            found.setdefault(row["usage_date"], []).append(row["amount"])
        return found


@pytest.fixture
def dataset(bigquery_settings: BigQuerySettings) -> Dataset:
    return Dataset(bigquery_settings)


def follow(folder: Path, environment: dict[str, str], wanted: list[Command]) -> list[tuple[int, str]]:
    """Exit code and output of each command, all in one shell."""
    script = "\n".join(f"{each.text}\nprintf '\\n{_DONE}%s\\n' $?" for each in wanted)
    shell = subprocess.run(
        ["bash", "-s"], cwd=folder, env=environment, input=script, text=True, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    parts = re.split(rf"\n{_DONE}(\d+)\n", shell.stdout)
    return [(int(code), output) for output, code in zip(parts[::2], parts[1::2], strict=False)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package, installed by the page's command."""
    root = written(tmp_path_factory.mktemp("installed") / PACKAGE)
    (install,) = [each for each in commands() if each.text.startswith("pip install")]
    ((code, output),) = follow(root, machine(root.parent), [install])
    assert code == 0, output
    return root / "installed"


def test_every_command_of_the_page_does_what_the_page_says(
    folder: Path, environment: dict[str, str], api: InvoiceApi, dataset: Dataset
) -> None:
    api.refusals = 1
    wanted = commands()
    assert len(wanted) >= 9
    done = follow(folder, environment, wanted)
    assert len(done) == len(wanted)
    for command, (code, output) in zip(wanted, done, strict=True):
        told = f"$ {command.text}\n{output}"
        if command.output is None:
            assert code == 0, told
        else:
            assert output.split() == command.output.split(), told
    dry_run, real = done[-3][1], done[-2][1]
    for text in (api.url, "2026-11-02 (UTC)", TABLE, "Nothing was written."):
        assert text in dry_run
    assert "succeeded: 4 records" in real
    assert dataset.amounts() == {
        date(2026, 11, 1): [Decimal("0.000000001"), Decimal("3.48")],
        date(2026, 11, 2): [Decimal("-1.5"), Decimal("12345678901234567890.123456789")],
    }
    assert [query.get("cursor") for query in api.queries] == [None, "3"]


class Runner:
    """The runner's process, with the installed package."""

    def __init__(self, installed: Path, folder: Path, environment: dict[str, str]) -> None:
        (folder / "keys").mkdir(exist_ok=True)
        (folder / "keys" / "api_key").write_text(KEY)
        self._folder = folder
        self.outcome: dict[str, Any] = {}
        self.environment = {
            **environment,
            "PYTHONPATH": str(installed),
            "PIPELINES_PROCESSOR_PACKAGES": PACKAGE,
            "PIPELINES_CREDENTIALS_DIRECTORY": str(folder / "keys"),
        }

    def run(self, number: int, url: str, **parameters: str) -> int:
        """One run of the page's pipeline, on the third of November; its exit code."""
        request = run_request(
            "hostly/cost/invoices",
            run_id=f"run_hostly{number}",
            parameters=parameters,
            logical_time=datetime(2026, 11, 3, 5, 30, tzinfo=UTC),
        )
        catalog = load_catalog(self._folder / "configs", processor_packages=[PACKAGE])
        document = resolve_run(catalog, request, env="dev", integration={"hostly_base_url": url})
        done = subprocess.run(
            [sys.executable, "-m", "pipeline_runner"], env={**self.environment, **variables(document, self._folder)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        told = (self._folder / "log").read_text()
        assert KEY not in done.stdout + done.stderr + told
        self.outcome = json.loads(told)
        return done.returncode


@pytest.fixture
def runner(installed: Path, folder: Path, environment: dict[str, str]) -> Runner:
    return Runner(installed, folder, environment)


def test_a_run_that_names_no_days_reads_the_last_seven_again(runner: Runner, api: InvoiceApi, dataset: Dataset) -> None:
    assert (runner.run(1, api.url), runner.outcome.get("error")) == (ExitCode.OK, None)
    assert (api.queries[0]["from"], api.queries[0]["to"]) == ("2026-10-27", "2026-11-02")
    assert runner.outcome["records_processed"] == 5
    # Corrected, gone, new: each day is what the provider says now.
    api.lines = [line(1, "2026-10-31", "0.2"), line(7, "2026-11-01", "5"), line(8, "2026-10-26", "9")]
    assert runner.run(2, api.url) == ExitCode.OK
    assert dataset.amounts() == {date(2026, 10, 31): [Decimal("0.2")], date(2026, 11, 1): [Decimal(5)]}
    assert {row["run_id"] for row in dataset.rows()} == {"run_hostly2"}
    # Days that are named are read, and no others.
    assert runner.run(3, api.url, date="2026-10-26") == ExitCode.OK
    assert (api.queries[-1]["from"], api.queries[-1]["to"]) == ("2026-10-26", "2026-10-26")
    assert len(dataset.rows()) == 3


def test_a_line_that_does_not_fit_fails_the_run_and_is_kept_to_be_looked_at(
    runner: Runner, api: InvoiceApi, dataset: Dataset
) -> None:
    assert runner.run(1, api.url) == ExitCode.OK
    before = dataset.rows()
    api.lines.append(line(9, "2026-11-01", "a lot"))
    assert runner.run(2, api.url) == ExitCode.DATA
    assert "quarantine" in runner.outcome["error"]
    assert dataset.rows() == before
    (kept,) = dataset.rows("_pipelines_quarantine", order="run_id")
    assert (kept["run_id"], "total.value: expected a number" in kept["reason"]) == ("run_hostly2", True)
    assert "a lot" in str(kept["row"])


def test_the_checks_of_the_config_are_those_of_its_table(
    runner: Runner, folder: Path, api: InvoiceApi, dataset: Dataset
) -> None:
    config = folder / "configs/hostly/cost/invoices.yml"
    config.write_text(config.read_text().replace("row_count: {max: 1000000}", "row_count: {max: 4}"))
    assert runner.run(1, api.url) == ExitCode.DATA
    assert "row_count" in runner.outcome["error"]
    assert TABLE not in {table.table_id for table in dataset.client.list_tables(dataset.name)} or not dataset.rows()


def test_a_wrong_key_is_told_and_nothing_is_made(runner: Runner, api: InvoiceApi, dataset: Dataset) -> None:
    (Path(runner.environment["PIPELINES_CREDENTIALS_DIRECTORY"]) / "api_key").write_text("hostly-key-of-somebody")
    assert runner.run(1, api.url) == ExitCode.CONFIG
    assert "unknown key" in runner.outcome["error"]
    assert "expected a key with the right to read invoices" in runner.outcome["error"]
    assert "hostly-key-of-somebody" not in runner.outcome["error"]
    assert TABLE not in {table.table_id for table in dataset.client.list_tables(dataset.name)}


def test_a_package_that_is_not_allowed_is_refused_in_the_pages_words(runner: Runner, api: InvoiceApi) -> None:
    runner.environment["PIPELINES_PROCESSOR_PACKAGES"] = ""
    assert runner.run(1, api.url) == ExitCode.CONFIG
    assert f"\n{runner.outcome['error']}\n" in PAGE
    assert not api.queries


def test_the_image_looks_for_packages_behind_what_the_runner_brings() -> None:
    containerfile = (ROOT / "images/runner/Containerfile").read_text()
    (ours,) = re.findall(r"PYTHONPATH=(\S+)", containerfile)
    (theirs,) = re.findall(r"PYTHONPATH=(\S+)", FILES["Containerfile"])
    (copied,) = re.findall(r"^COPY installed/ (\S+)/$", FILES["Containerfile"], re.MULTILINE)
    assert theirs == f"{ours}:{copied}"


def test_the_charts_values_of_the_page_exist() -> None:
    def check(values: dict[str, Any], known: dict[str, Any]) -> None:
        for name, value in values.items():
            assert name in known
            if isinstance(value, dict):
                check(value, known[name])

    check(
        yaml.safe_load(FILES["values-hostly.yaml"]), yaml.safe_load((ROOT / "charts/pipelines/values.yaml").read_text())
    )


def test_the_pages_code_is_of_the_projects_style(folder: Path) -> None:
    # In the package's own folder, the runner is a third party.
    ruff = [Path(sys.executable).with_name("ruff"), "check", "--no-cache", "--ignore", "I001"]
    checked = subprocess.run(
        [*ruff, "--config", ROOT / "pyproject.toml", "src"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, textwrap.indent(checked.stdout, "  ")
