"""A provider's key is in its Secret and nowhere else, however its run ends; a sealed one isn't even there."""

import asyncio
import base64
import json
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from sqlalchemy import text
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.credentials.names import ENVELOPE_FILE, KEYSET_FILE
from pipeline_core.kube.names import LABEL_ORG
from pipeline_core.store.engine import create_engine
from pipeline_core.store.integrations import Integrations
from pipeline_local.install import ENV
from pipeline_local.state import State
from pipeline_runner import masking
from support.installation import Installation
from support.organizations import empty_organization
from support.victims import embedded_node

ORG = "e2e_vault"
# Accepted by the simulated API, and refused by it: it has no shape that anybody would know as a key's.
GOOD, BAD = f"sk-admin-canary-{uuid.uuid4().hex}", f"canary/{uuid.uuid4().hex}"
PLAIN, SEALED, REFUSED, SWAPPED = (f"e2e--vault-{each}" for each in ("plain", "sealed", "refused", "swapped"))
KEYSET = "pipelines-keyset-e2e--vault"


@pytest.fixture(scope="module")
def vault(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An organization with OpenAI's simulated API, and four Secrets: plain, sealed, refused, another one's."""
    folder = tmp_path_factory.mktemp("keys")
    for name, key in (("good", GOOD), ("bad", BAD)):
        (folder / name).write_text(f"{key}\n")
    made = [KEYSET, PLAIN, SEALED, REFUSED, SWAPPED]
    installation.kubectl("delete", "secret", *made, "--ignore-not-found")
    with empty_organization(installation, ORG):
        try:
            keyset = folder / "keyset.yaml"
            keyset.write_text(sealed("keyset", ORG))
            installation.kubectl("create", f"--filename={keyset}")
            for name, file in ((PLAIN, "good"), (REFUSED, "bad")):
                installation.kubectl("create", "secret", "generic", name, f"--from-file=api_key={folder / file}")
            field = ("--field", f"api_key=@{folder / 'good'}", "--keyset", str(keyset))
            installation.apply(yaml.safe_load(sealed("seal", ORG, "openai", *field, "--name", SEALED)))
            # the bare keyset: as this organization's Secret it would be refused
            bare = folder / "keyset.json"
            bare.write_text(yaml.safe_load(keyset.read_text())["stringData"][KEYSET_FILE])
            field = (*field[:2], "--keyset", str(bare))
            other = yaml.safe_load(sealed("seal", "e2e_other", "openai", *field, "--name", SWAPPED))
            installation.apply(relabelled(other))
            yield installation
        finally:
            masking.forget()
            for secret in (PLAIN, SEALED, REFUSED, SWAPPED):
                installation.remove(f"run-of-{secret}")
            installation.kubectl("delete", "secret", *made, "--ignore-not-found")


def relabelled(secret: dict[str, Any]) -> dict[str, Any]:
    """Another organization's envelope, sealed with this one's own keyset, that says of itself to be this one's."""
    envelope = json.loads(secret["stringData"][ENVELOPE_FILE])
    assert envelope["org"] != ORG
    secret["stringData"][ENVELOPE_FILE] = json.dumps({**envelope, "org": ORG})
    secret["metadata"]["labels"][LABEL_ORG] = ORG
    return secret


def sealed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["credentials", *arguments])
    assert result.exit_code == 0, result.output
    return str(result.stdout)


async def integrate(installation: Installation, secret: str) -> None:
    url = State(installation.paths.state).exports["PIPELINES_SIMULATORS_URL"]
    engine = create_engine(installation.database_url)
    try:
        await Integrations(engine).set(ORG, "openai", {"openai_base_url": f"{url}/openai"}, credential_secret=secret)
    finally:
        await engine.dispose()


def _week_before(day: date) -> dict[str, str]:
    # One of ten days is made up to be empty, by the key, which is another one each time.
    return {"start_date": str(day - timedelta(days=6)), "end_date": str(day)}


def end_of(installation: Installation, secret: str, *, look: bool = False) -> dict[str, Any]:
    """How a run with this Secret ends; with `look`, what its process shows meanwhile is searched."""
    asyncio.run(integrate(installation, secret))
    spec = {"org": ORG, "provider": "openai", "domain": "cost", "pipeline": "usage_cost", "maxRetries": 0}
    name = f"run-of-{secret}"
    installation.remove(name)
    installation.apply(
        {
            "apiVersion": "pipelines.dev/v1alpha1",
            "kind": "PipelineRun",
            "metadata": {"name": name},
            "spec": {**spec, "parameters": _week_before(installation.last_day)},
        }
    )
    if look:
        with installation.bigquery_stopped():
            run_id = installation.await_phase(name, "Running")["status"]["runId"]
            look_at_process(installation, run_id)
    run: dict[str, Any] = installation.await_end(name)
    assert run["status"]["phase"] in {"Completed", "Failed"}
    return run


def look_at_process(installation: Installation, run_id: str) -> None:
    processes = embedded_node(installation).first_processes(f"pipelines.dev/run-id={run_id}")
    assert processes
    for process in processes:
        for file in ("environ", "cmdline"):
            shown = Path(f"/proc/{process.pid}/{file}").read_bytes().decode(errors="replace")
            assert shown
            assert found_in(shown) == []


def forms(key: str) -> Iterator[str]:
    yield from (key, quote(key, safe=""), json.dumps(key)[1:-1], key.encode().hex())
    for before in range(3):
        # what base64 makes of it within anything longer, without its first and last characters
        yield base64.b64encode(b"\0" * before + key.encode()).decode()[4:-4]


def found_in(shown: str) -> list[str]:
    return [form for key in (GOOD, BAD) for form in forms(key) if form in shown]


@pytest.fixture(scope="module")
def runs(vault: Installation) -> dict[str, dict[str, Any]]:
    """A run of each Secret, ended and exported."""
    ended = {
        secret: end_of(vault, secret, look=secret in {PLAIN, SEALED}) for secret in (PLAIN, SEALED, REFUSED, SWAPPED)
    }
    for run in ended.values():
        vault.row(run["status"]["runId"])
    return ended


@pytest.mark.parametrize("secret", [PLAIN, SEALED])
def test_a_run_reads_with_its_key(runs: dict[str, dict[str, Any]], secret: str) -> None:
    status = runs[secret]["status"]
    assert status["phase"] == "Completed", status
    assert status["recordsProcessed"] > 0


def test_a_key_that_the_provider_refuses_fails_the_run(runs: dict[str, dict[str, Any]]) -> None:
    status = runs[REFUSED]["status"]
    assert (status["phase"], status["attempts"]) == ("Failed", 1)
    assert "401" in status["message"]


def test_another_organizations_envelope_isnt_opened(runs: dict[str, dict[str, Any]]) -> None:
    status = runs[SWAPPED]["status"]
    assert (status["phase"], status["attempts"]) == ("Failed", 1)
    # It says to be this one's, and the keyset is the right one: what it is bound to refuses it.
    assert (
        f"the Secret {SWAPPED} can't be opened: it was changed, or sealed for another organization" in status["message"]
    )


def test_no_object_but_its_secret_holds_a_key(vault: Installation, runs: dict[str, dict[str, Any]]) -> None:
    kinds = vault.kubectl("api-resources", "--verbs=list", "--output=name").split()
    assert {"secrets", "pods", "jobs.batch", "events", "pipelineruns.pipelines.dev"} <= set(kinds)
    seen, holders = 0, set()
    for kind in kinds:
        items = vault.kubectl.read(kind, "--all-namespaces")["items"]
        seen += len(items)
        holders |= {f"{each['kind']}/{each['metadata']['name']}" for each in items if found_in(json.dumps(each))}
    assert seen > 50
    assert holders == {f"Secret/{PLAIN}", f"Secret/{REFUSED}"}  # the sealed one isn't among them


def test_no_log_holds_a_key(vault: Installation, runs: dict[str, dict[str, Any]]) -> None:
    read = 0
    for pod in vault.kubectl.read("pods", "--all-namespaces")["items"]:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        logs = vault.kubectl.attempt("logs", name, f"--namespace={namespace}", "--all-containers", "--tail=-1")
        assert found_in(logs.stdout + logs.stderr) == [], name
        read += logs.returncode == 0
    assert read >= len(runs)


def test_no_row_of_postgresql_holds_a_key(vault: Installation, runs: dict[str, dict[str, Any]]) -> None:
    async def dump() -> dict[str, str]:
        engine = create_engine(vault.database_url)
        try:
            async with engine.connect() as connection:
                query = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname !~ '^pg_|^info'"
                tables = (await connection.execute(text(query))).scalars().all()
                return {
                    table: "\n".join((await connection.execute(text(f"SELECT t::text FROM {table} t"))).scalars())
                    for table in tables
                }
        finally:
            await engine.dispose()

    rows = asyncio.run(dump())
    assert any(ORG in content for content in rows.values())
    assert [table for table, content in rows.items() if found_in(content)] == []


def test_no_table_of_bigquery_holds_a_key(vault: Installation, runs: dict[str, dict[str, Any]]) -> None:
    tables = [table for name in (f"{ORG}_{ENV}", "organizations") for table in vault.client.list_tables(name)]
    assert len(tables) >= 3
    for table in tables:
        query = f"SELECT * FROM `{table.project}.{table.dataset_id}.{table.table_id}`"
        assert found_in("\n".join(str(dict(row)) for row in vault.client.query(query))) == [], table.table_id


def test_what_a_run_says_of_itself_holds_no_key(runs: dict[str, dict[str, Any]]) -> None:
    assert [name for name, run in runs.items() if found_in(json.dumps(run))] == []
