"""The settings of the embedded services' container: what is wrong is named, and the password is never shown."""

from pathlib import Path

import pytest

from pipeline_local.services.main import main
from pipeline_local.services.postgres import server_command
from pipeline_local.services.settings import ServicesSettings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ServicesSettings.model_fields:
        monkeypatch.delenv(f"PIPELINES_DEV_{field.upper()}", raising=False)


def test_a_missing_password_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 78
    assert "PIPELINES_DEV_POSTGRES_PASSWORD: Field required" in capsys.readouterr().err


def test_a_wrong_value_is_named_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIPELINES_DEV_POSTGRES_PASSWORD", "hunter2")
    monkeypatch.setenv("PIPELINES_DEV_BIGQUERY_PORT", "70000")
    assert main(["ready"]) == 78
    shown = capsys.readouterr().err
    assert "PIPELINES_DEV_BIGQUERY_PORT" in shown
    assert "65536" in shown
    assert "hunter2" not in shown


def test_unknown_arguments_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PIPELINES_DEV_POSTGRES_PASSWORD", "hunter2")
    assert main(["stop"]) == 64
    assert "expected none, or ready" in capsys.readouterr().err


def test_the_defaults_are_those_of_a_container_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DEV_POSTGRES_PASSWORD", "hunter2")
    settings = ServicesSettings()
    assert (settings.host, settings.postgres_port, settings.data) == ("127.0.0.1", 5432, Path("/data"))
    assert "hunter2" not in repr(settings)


def test_the_server_listens_on_one_address_and_no_socket() -> None:
    command = server_command(Path("/bin"), Path("/data/postgres"), "127.0.0.1", 5432)
    assert "listen_addresses=127.0.0.1" in command
    assert "unix_socket_directories=" in command
    assert "max_connections=250" in command
    assert not [part for part in command if part.startswith("fsync")]
