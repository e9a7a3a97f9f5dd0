"""The whole of it, installed in the local cluster, as end-to-end tests see it."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from google.cloud import bigquery

from pipeline_core.store.engine import create_engine
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_local.install import NAMESPACE
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.quickstart import source
from pipeline_local.quickstart.results import Sums, await_record, daily_sums
from pipeline_local.state import BackendChoice

Manifest = dict[str, Any]

# A service's processes, looked for within the dev services' container by a word of their command lines.
_BIGQUERY, _POSTGRESQL = "bqemulator", "postgres"
_SIGNAL = """
import os, pathlib, signal, sys
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and int(entry.name) != os.getpid():
        words = (entry / "cmdline").read_bytes().split(b"\\0")
        # PostgreSQL's own children call themselves "postgres: what they do"
        names = {words[0].partition(b":")[0].rpartition(b"/")[2], *words}
        if sys.argv[2].encode() in names:
            os.kill(int(entry.name), getattr(signal, sys.argv[1]))
            print(entry.name)
"""


@dataclass(frozen=True)
class Installation:
    """Makes runs and sees what became of them. `client` reaches the BigQuery stand-in as its administrator would."""

    paths: Paths
    database_url: str = field(repr=False)
    client: bigquery.Client
    last_day: date
    """The last of the ten days of the billing export in the customer's project."""

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.paths, NAMESPACE)

    @contextmanager
    def run(self, name: str, **spec: Any) -> Iterator[str]:
        """Apply a run of the billing pipeline of yesterday, or as `spec` says; deleted at the end. Yields its name."""
        self.remove(name)
        self.apply(manifest(name, **spec))
        try:
            yield name
        finally:
            self.remove(name)

    def apply(self, document: Manifest) -> None:
        self.kubectl("apply", "--filename=-", manifest=document)

    def remove(self, name: str) -> None:
        self.kubectl("delete", "plr", name, "--ignore-not-found", "--wait", "--timeout=60s")

    def patch(self, kind: str, name: str, change: Manifest, *options: str) -> None:
        """Merge a change into an object."""
        self.kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}", *options)

    def get(self, name: str) -> Manifest:
        found: Manifest = self.kubectl.read("plr", name)
        return found

    def await_phase(self, name: str, phase: str, seconds: int = 120) -> Manifest:
        """The run once it is in that phase; fails with what it is instead when the time is over."""
        expected = f"--for=jsonpath={{.status.phase}}={phase}"
        waited = self.kubectl.attempt("wait", f"plr/{name}", expected, f"--timeout={seconds}s")
        run = self.get(name)
        assert waited.returncode == 0, f"not {phase} within {seconds} s: {json.dumps(run.get('status'), indent=2)}"
        return run

    def await_end(self, name: str, seconds: int = 120) -> Manifest:
        """The run once it has ended, however it did."""
        return self.eventually(
            lambda: next((run for run in [self.get(name)] if run.get("status", {}).get("completedAt")), None),
            seconds,
        )

    def record(self, run_id: str) -> StoredRun | None:
        """The run's record in PostgreSQL."""

        async def read() -> StoredRun | None:
            engine = create_engine(self.database_url)
            try:
                return await RunRecords(engine).get(run_id)
            finally:
                await engine.dispose()

        return asyncio.run(read())

    def row(self, run_id: str) -> dict[str, Any]:
        """The run's final row of organizations.pipeline_runs, waiting for the exporter."""
        return await_record(self.client, run_id)

    def source_sums(self, first_day: date, last_day: date) -> dict[date, Sums]:
        return daily_sums(self.client, source.full_name(), "PARSE_NUMERIC(CAST({} AS STRING))", first_day, last_day)

    def target_sums(self, org: str, first_day: date, last_day: date) -> dict[date, Sums]:
        table = f"{self.client.project}.{org}_dev.gcp_billing_costs"
        return daily_sums(self.client, table, "{}", first_day, last_day)

    def leftovers(self, run_id: str) -> list[str]:
        """The Jobs and pods of a run, by kind and name."""
        found = self.kubectl("get", "jobs,pods", f"--selector=pipelines.dev/run-id={run_id}", "--output=name")
        return found.split()

    def live_pods(self, run_id: str) -> list[str]:
        """The pods of a run whose containers haven't all ended."""
        pods = self.kubectl.read("pods", f"--selector=pipelines.dev/run-id={run_id}")["items"]
        return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] not in {"Succeeded", "Failed"}]

    def alive(self, run_id: str) -> list[str]:
        """What of a run may still do something: pods whose containers haven't all ended, Jobs that haven't ended."""
        jobs = self.kubectl.read("jobs", f"--selector=pipelines.dev/run-id={run_id}")["items"]
        return self.live_pods(run_id) + [job["metadata"]["name"] for job in jobs if not _has_ended(job)]

    @contextmanager
    def bigquery_stopped(self) -> Iterator[None]:
        """Stop the stand-in in the middle of whatever it does, so that runs last as long as a test needs them to."""
        self._signal("SIGSTOP", _BIGQUERY)
        try:
            yield
        finally:
            self.resume_bigquery()

    def resume_bigquery(self) -> None:
        """Let the stand-in go on; also after a test process that was killed while it was stopped."""
        self._signal("SIGCONT", _BIGQUERY)

    @contextmanager
    def postgresql_stopped(self) -> Iterator[None]:
        """Stop PostgreSQL, so that nobody is answered."""
        self._signal("SIGSTOP", _POSTGRESQL)
        try:
            yield
        finally:
            self._signal("SIGCONT", _POSTGRESQL)

    def _signal(self, name: str, word: str) -> None:
        pod = "deployment/pipelines-dev-services"
        told = self.kubectl("exec", pod, "--", "python", "-c", _SIGNAL, name, word)
        assert told.strip(), f"no process {word} was found"

    def eventually(self, probe: Callable[[], Any], seconds: float = 60.0) -> Any:
        """The first truthy result of `probe`."""
        deadline = time.monotonic() + seconds
        while not (result := probe()):
            assert time.monotonic() < deadline, f"not within {seconds:g} s; last: {result!r}"
            time.sleep(0.2)
        return result


def _has_ended(job: Manifest) -> bool:
    conditions = job["status"].get("conditions", ())
    return any(each["type"] in {"Complete", "Failed"} and each["status"] == "True" for each in conditions)


def context_refusal(choice: BackendChoice | None, environment: Mapping[str, str]) -> str | None:
    """Why tests don't touch the cluster in use; None where they may. They delete runs and stop services in it."""
    if choice is None or choice.name != "context" or environment.get("PIPELINES_TEST_CONTEXT") == "1":
        return None
    return f"a cluster of your own is in use ({choice.context}): to let tests change it, set PIPELINES_TEST_CONTEXT=1"


def manifest(name: str, **spec: Any) -> Manifest:
    """A PipelineRun of acme's billing pipeline."""
    billing = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing"}
    return {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": {"name": name},
        "spec": {**billing, **spec},
    }


def noop(**parameters: int | str) -> Manifest:
    """The spec of a run that reads and writes nothing, as keywords: `Installation.run(name, **noop(seconds=5))`."""
    return {"provider": "demo", "domain": "test", "pipeline": "noop", "parameters": parameters}


def condition(run: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """One of the run's conditions; empty if it has none of that type."""
    return next((each for each in run["status"]["conditions"] if each["type"] == kind), {})


def refusal(kubectl: Kubectl, document: Manifest) -> str:
    """What the API server says to a manifest that it doesn't take; fails where it takes it."""
    result: subprocess.CompletedProcess[str] = kubectl.attempt("create", "--filename=-", manifest=document)
    assert result.returncode != 0, f"the API server took {document}"
    return result.stderr
