"""The quick start's keys: in Secrets, one plain and one that only its own keyset opens; in nothing that is shown."""

import base64
import json
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from pipeline_core.credentials.names import ENVELOPE_FILE, KEYSET_FILE
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.quickstart import commands, credentials
from pipeline_local.quickstart.accounts import ACCOUNTS, ANTHROPIC, OPENAI
from pipeline_runner.credentials import Credentials
from pipeline_runner.settings import CredentialSettings

URL = "http://127.0.0.1:9070"


class Cluster(Kubectl):
    """Keeps Secrets as an API server does, and notes what was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Paths(folder, folder), "pipelines")
        self.secrets: dict[str, dict[str, str]] = {}
        self.asked: list[tuple[str, ...]] = []

    def attempt(self, *arguments: str, manifest: Any = None) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments)
        output = ""
        match arguments:
            case ("delete", "secret", name, *_):
                self.secrets.pop(name, None)
            case ("create", "secret", "generic", name, field):
                _, key, path = field.split("=")
                self.secrets[name] = {key: Path(path).read_text()}
            case ("get", "secret", name, *_):
                found = self.secrets.get(name)
                data = {key: base64.b64encode(value.encode()).decode() for key, value in (found or {}).items()}
                output = yaml.safe_dump({"kind": "Secret", "data": data}) if found else ""
            case ("create" | "apply", file):
                document = yaml.safe_load(Path(file.removeprefix("--filename=")).read_text())
                assert arguments[0] == "apply" or document["metadata"]["name"] not in self.secrets
                self.secrets[document["metadata"]["name"]] = document["stringData"]
        return subprocess.CompletedProcess([], 0, output, "")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Console:
    """The console; `integration set` needs a database, and is only noted."""
    told = commands.told
    monkeypatch.setattr(commands, "told", lambda *given: "set\n" if given[0] == "integration" else told(*given))
    return Console(file=StringIO(), width=200)


def test_both_keys_reach_the_runs_and_nothing_that_is_shown(shown: Console, tmp_path: Path) -> None:
    cluster, folder = Cluster(tmp_path), tmp_path / "state"
    folder.mkdir()
    for _ in range(2):  # harmless to repeat, and the keyset stays
        credentials.give(shown, cluster, "acme", URL, folder)
    assert cluster.secrets.keys() == {"acme-openai", "acme-anthropic", "pipelines-keyset-acme"}
    assert cluster.secrets["acme-openai"] == {"api_key": OPENAI.key}
    assert ANTHROPIC.key not in json.dumps(cluster.secrets)
    assert _opened(cluster, tmp_path) == ANTHROPIC.key
    assert list(folder.iterdir()) == []
    text = shown.file.getvalue()  # type: ignore[attr-defined]
    assert all(each.key not in text for each in ACCOUNTS)
    assert "primaryKeyId" not in text
    assert text.count("pipelines credentials keyset acme") == 1
    for each in ACCOUNTS:
        line = f"integration set acme {each.provider} --setting {each.setting}={URL}/{each.provider}"
        assert text.count(f"{line} --credential-secret acme-{each.provider}") == 2
    assert all(each.key not in argument for each in ACCOUNTS for call in cluster.asked for argument in call)


def _opened(cluster: Cluster, folder: Path) -> str:
    """What the runner reads of the sealed Secret."""
    mounts = {}
    for name, file in (("acme-anthropic", ENVELOPE_FILE), ("pipelines-keyset-acme", KEYSET_FILE)):
        mounts[file] = folder / name
        mounts[file].mkdir()
        (mounts[file] / file).write_text(cluster.secrets[name][file])
    settings = CredentialSettings(directory=mounts[ENVELOPE_FILE], keyset=mounts[KEYSET_FILE] / KEYSET_FILE)
    return Credentials("acme", "anthropic", settings=settings).secret("api_key").get_secret_value()
