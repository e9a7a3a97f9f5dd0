"""`pipelines credentials`: what it prints, a run opens; no value comes from argv, and none is echoed."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_runner import masking
from pipeline_runner.credentials import Credentials
from pipeline_runner.settings import CredentialSettings
from support.kms_stand_in import kms_stand_in

KEY = "sk-admin-canary-5xQ2v9LrT7w"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    masking.forget()


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["credentials", *arguments], input=given)


def secret(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    manifest: dict[str, Any] = yaml.safe_load(result.stdout)
    assert (manifest["apiVersion"], manifest["kind"]) == ("v1", "Secret")
    return manifest


@pytest.fixture
def keyset(tmp_path: Path) -> Path:
    path = tmp_path / "keyset.yaml"
    path.write_text(run("keyset", "acme_eu").stdout)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


def opened(tmp_path: Path, manifest: dict[str, Any], keyset: str, **settings: str) -> str:
    """The key, as a run of acme_eu with openai finds it."""
    mount = tmp_path / "mount"
    mount.mkdir(exist_ok=True)
    (mount / "envelope.json").write_text(manifest["stringData"]["envelope.json"])
    (tmp_path / "keyset.json").write_text(keyset)
    found = CredentialSettings(directory=mount, keyset=tmp_path / "keyset.json", **settings)  # type: ignore[arg-type]
    return Credentials("acme_eu", "openai", settings=found).secret("api_key").get_secret_value()


def test_a_sealed_secret_holds_nothing_in_plain_and_a_run_opens_it(tmp_path: Path, keyset: Path, key: Path) -> None:
    result = run("seal", "acme_eu", "openai", "--field", f"api_key=@{key}", "--keyset", str(keyset), "-n", "runs")
    manifest = secret(result)
    assert manifest["metadata"] == {
        "name": "acme--eu-openai",
        "namespace": "runs",
        "labels": {"pipelines.dev/org": "acme_eu", "pipelines.dev/provider": "openai"},
    }
    assert list(manifest["stringData"]) == ["envelope.json"]
    assert KEY not in result.output
    plain = yaml.safe_load(keyset.read_text())["stringData"]["keyset.json"]
    assert opened(tmp_path, manifest, plain) == KEY


def test_a_value_comes_from_standard_input_too(tmp_path: Path, keyset: Path) -> None:
    seal = ("seal", "acme_eu", "openai", "--field", "api_key=-", "--keyset", str(keyset), "--name", "openai-key")
    manifest = secret(run(*seal, given=f"{KEY}\n"))
    assert manifest["metadata"]["name"] == "openai-key"
    assert opened(tmp_path, manifest, yaml.safe_load(keyset.read_text())["stringData"]["keyset.json"]) == KEY


def test_a_keyset_is_read_as_kubectl_prints_its_secret_or_as_it_is(tmp_path: Path, keyset: Path, key: Path) -> None:
    plain = yaml.safe_load(keyset.read_text())["stringData"]["keyset.json"]
    encoded = base64.b64encode(plain.encode()).decode()
    forms = {"printed.yaml": yaml.safe_dump({"kind": "Secret", "data": {"keyset.json": encoded}}), "plain.json": plain}
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        seal = ("seal", "acme_eu", "openai", "--field", f"api_key=@{key}", "--keyset", str(tmp_path / name))
        assert opened(tmp_path, secret(run(*seal)), plain) == KEY


def test_a_rotated_keyset_opens_the_older_envelope(tmp_path: Path, keyset: Path, key: Path) -> None:
    older = secret(run("seal", "acme_eu", "openai", "--field", f"api_key=@{key}", "--keyset", str(keyset)))
    rotated = secret(run("keyset", "acme_eu", "--add-to", str(keyset)))
    assert rotated["metadata"]["name"] == "pipelines-keyset-acme--eu"
    assert opened(tmp_path, older, rotated["stringData"]["keyset.json"]) == KEY


def test_sealing_with_cloud_kms(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "projects/p/locations/global/keyRings/r/cryptoKeys/{org}"
    with kms_stand_in() as kms:
        monkeypatch.setenv("PIPELINES_CREDENTIALS_KMS_ENDPOINT", kms.endpoint)
        seal = ("seal", "acme_eu", "openai", "--field", f"api_key=@{key}", "--kms-key", template)
        refused = run(*seal)
        assert refused.exit_code == 78
        assert "Cloud KMS can't encrypt" in refused.output
        kms.add_key(template.replace("{org}", "acme_eu"))
        manifest = secret(run(*seal))
        assert opened(tmp_path, manifest, "", kms_key=template, kms_endpoint=kms.endpoint) == KEY


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--field", f"api_key={KEY}"), "--field api_key: expected @FILE, or - for standard input"),
        (("--field", KEY), "--field number 1: expected FIELD=@FILE"),
        (("--field", f"{KEY}=@x"), "--field number 1: expected FIELD=@FILE"),
        (("--field", "api_key=@missing"), "missing: No such file or directory"),
        (("--field", "api_key=-", "--field", "api_key=-"), "--field api_key: given twice"),
        (("--field", "api_key=-", "--name", "Acme_Key"), "--name 'Acme_Key': expected a name as Kubernetes allows"),
        (("--field", "api_key=-", "--kms-key", "k"), "expected either --keyset FILE or --kms-key URI"),
    ],
)
def test_what_is_wrong_is_told_without_any_value(keyset: Path, arguments: tuple[str, ...], text: str) -> None:
    result = run("seal", "acme_eu", "openai", "--keyset", str(keyset), *arguments, given=f"{KEY}\n")
    assert result.exit_code == 78
    assert text in result.output
    assert KEY not in result.output


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"\xff" * 20, b"x" * 65537])
def test_what_a_run_would_refuse_isnt_sealed(tmp_path: Path, keyset: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    result = run("seal", "acme_eu", "openai", "--keyset", str(keyset), "--field", f"api_key=@{tmp_path / 'bad'}")
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.output.startswith("--field api_key: ")


def test_the_keyset_of_another_organization_is_refused(keyset: Path, key: Path) -> None:
    told = f"{keyset}: expected the keyset of acme, this Secret is of acme_eu"
    for command in (
        ("seal", "acme", "openai", "--field", f"api_key=@{key}", "--keyset", str(keyset)),
        ("keyset", "acme", "--add-to", str(keyset)),
    ):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (78, "")
        assert told in result.output


def test_a_file_that_is_no_keyset_is_refused(tmp_path: Path, key: Path) -> None:
    for text in (KEY, "{}", yaml.safe_dump({"kind": "Secret", "data": {"other": ""}})):
        (tmp_path / "none").write_text(text)
        result = run("seal", "acme_eu", "openai", "--field", f"api_key=@{key}", "--keyset", str(tmp_path / "none"))
        assert result.exit_code == 78
        assert "keyset" in result.output
        assert KEY not in result.output
