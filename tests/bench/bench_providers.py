"""90 days of hourly usage and daily costs from each provider's simulator, beside dlt's REST source.

Both are whole processes, with 50 ms of latency on each request. The runner also replaces days in one transaction,
compares rows and sums of what was written with what was staged, and checks; dlt replaces its tables and does none of
that. That the runner makes no more requests than the page size takes is asserted, and that no amount was lost.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from math import ceil
from pathlib import Path

import pytest
from google.cloud import bigquery

from bench import environments
from pipeline_core.catalog.loader import load_catalog
from pipeline_core.resolve import resolve_run
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.images_content import checkout
from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY, Simulators, start_simulators
from pipeline_local.simulators.world import Provider
from support.figures import median, peak_rss_mib, show
from support.run_requests import run_request
from support.stand_in import bigquery_stand_in

DAYS = 90
LAST = date(2026, 11, 20)
FIRST = LAST - timedelta(days=DAYS - 1)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROUNDS = 3
LATENCY_MS = 50
HERE = Path(__file__).parent
# As dlt is run here: the stand-in can't read its compressed files, and nothing is told to its makers.
DLT = {"DATA_WRITER__DISABLE_COMPRESSION": "true", "RUNTIME__DLTHUB_TELEMETRY": "false"}
KEYS: dict[Provider, str] = {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}
HOURS = DAYS * 24
_NUMERIC = Decimal("1e-9")
# Pages of hours (168 of them at most) of each usage endpoint, and of days of the costs.
FEWEST: dict[Provider, int] = {
    "openai": 10 * ceil(HOURS / 168) + ceil(DAYS / 180),
    "anthropic": ceil(HOURS / 168) + ceil(DAYS / 31),
}


@dataclass
class Scene:
    """A stand-in and simulators that nothing has been read from, and an organization's dataset."""

    provider: Provider
    simulators: Simulators
    client: bigquery.Client
    folder: Path
    dataset: str = "bench_test"

    @property
    def url(self) -> str:
        return {"openai": self.simulators.openai_url, "anthropic": self.simulators.anthropic_url}[self.provider]

    def runner(self) -> tuple[float, float]:
        """One run; the seconds of its process, and its peak of memory in MiB."""
        command, variables = environments.runner()
        document, outcome = self.folder / "document.json", self.folder / "outcome"
        document.write_text(_document(self.provider, self.url).model_dump_json())
        keys = self.folder / "keys"
        keys.mkdir()
        (keys / "api_key").write_text(KEYS[self.provider])
        variables |= {
            "PIPELINES_RUN_DOCUMENT": str(document),
            "PIPELINES_TERMINATION_LOG": str(outcome),
            "PIPELINES_LOG_LEVEL": "critical",
            "PIPELINES_API_HOSTS": "http://127.0.0.1:*",
            "PIPELINES_CREDENTIALS_DIRECTORY": str(keys),
        }
        measured = peak_rss_mib(command, variables)
        assert json.loads(outcome.read_text())["status"] == "succeeded"
        return measured

    def dlt(self, how: str) -> tuple[float, float]:
        """dlt's run, `parallel` or not; the same of it."""
        script = str(HERE / "dlt_rest.py")
        arguments = [self.provider, self.url, FIRST.isoformat(), LAST.isoformat(), self.dataset, how]
        command = [environments.interpreter("bench-dlt"), script, *arguments]
        return peak_rss_mib(command, DLT | {"API_KEY": KEYS[self.provider]})

    def jobs(self) -> Counter[str]:
        """What BigQuery was asked to do, by kind."""
        kinds = Counter[str]()
        for job in self.client.list_jobs(all_users=True):
            kinds["load" if job.job_type == "load" else getattr(job, "statement_type", None) or job.job_type] += 1
        return kinds

    def amounts(self) -> Decimal:
        """The sum of all costs that the run has published."""
        table = f"{self.client.project}.{self.dataset}.{self.provider}_costs"
        (row,) = self.client.query(f"SELECT SUM(amount) AS total FROM `{table}`", job_retry=None).result()
        return Decimal(row["total"] or 0)

    def true_amounts(self) -> Decimal:
        """The same by the simulator's own numbers, each rounded as NUMERIC holds it."""
        rows = self.simulators.truth(self.provider, FIRST, LAST).rows["costs"]
        return sum((row["amount"].quantize(_NUMERIC, ROUND_HALF_UP) for row in rows), Decimal(0))


@contextmanager
def scene(provider: Provider, folder: Path) -> Iterator[Scene]:
    """A scene of its own for each measurement: what another one left in the stand-in's memory would slow it down."""
    with (
        bigquery_stand_in(),
        start_simulators(seed=7, now=lambda: NOW, latency_ms=LATENCY_MS) as simulators,
    ):
        client = bigquery_client(BigQuerySettings())
        made = Scene(provider, simulators, client, folder)
        client.create_dataset(bigquery.Dataset(f"{client.project}.{made.dataset}"))
        yield made


def _document(provider: Provider, url: str) -> RunDocument:
    """The catalog's own pipeline, with usage by the hour."""
    request = run_request(
        f"{provider}/cost/usage_cost",
        run_id="run_bench",
        org_slug="bench",
        parameters={"start_date": FIRST.isoformat(), "end_date": LAST.isoformat()},
        logical_time=NOW,
    )
    settings = {f"{provider}_base_url": url}
    document = resolve_run(load_catalog(checkout() / "configs"), request, env="test", integration=settings)
    source = {**document.config["source"], "bucket_width": "1h"}
    return document.model_copy(update={"config": {**document.config, "source": source}})


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_90_days_of_hourly_usage(provider: Provider, tmp_path: Path) -> None:
    ways: dict[str, Callable[[Scene], tuple[float, float]]] = {
        "runner": Scene.runner,
        "dlt, resources in parallel": lambda made: made.dlt("parallel"),
        "dlt (baseline)": lambda made: made.dlt("in turn"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, list[float]] = {name: [] for name in ways}
    asked: dict[str, tuple[int, int, Counter[str]]] = {}
    for number in range(ROUNDS + 1):
        for way, run in ways.items():
            folder = tmp_path / f"{number}-{way}"
            folder.mkdir()
            with scene(provider, folder) as made:
                before = made.jobs()
                taken, peak = run(made)
                asked[way] = (
                    made.simulators.count(provider),
                    made.simulators.max_concurrency(provider),
                    made.jobs() - before,
                )
                if way == "runner":
                    assert made.amounts() == made.true_amounts()
                    assert asked[way][0] == FEWEST[provider]
            if number:  # the first round makes the environments and warms the page cache
                seconds[way].append(taken)
                peaks[way].append(peak)
    typical, memory = ({way: median(values) for way, values in each.items()} for each in (seconds, peaks))
    baseline = "dlt (baseline)"
    show(
        f"{DAYS} days of {provider}, usage by the hour, {LATENCY_MS} ms a request, whole process",
        ["way", "seconds", "to baseline", "peak MiB", "to baseline", "requests", "at once", "BigQuery's jobs"],
        [
            [
                way,
                f"{typical[way]:.2f}",
                f"{typical[way] / typical[baseline]:.2f}",
                f"{memory[way]:.0f}",
                f"{memory[way] / memory[baseline]:.2f}",
                f"{asked[way][0]} (fewest {FEWEST[provider]})",
                str(asked[way][1]),
                ", ".join(f"{count} {kind}" for kind, count in sorted(asked[way][2].items())),
            ]
            for way in ways
        ],
    )
