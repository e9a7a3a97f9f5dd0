"""The exporter's settings come from the environment and are bounded."""

import pytest
from pydantic import ValidationError

from pipeline_operator.exporter.main import main
from pipeline_operator.exporter.settings import ExporterSettings


@pytest.fixture(autouse=True)
def installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_ENV", "test")


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://u:hunter2@h/d")
    settings = ExporterSettings()
    assert (settings.http_port, settings.records_dataset, settings.export_interval) == (8081, "organizations", 10)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPORT_INTERVAL", "31"),
        ("EXPORT_INTERVAL", "0"),
        ("EXPORT_BATCH_ROWS", "0"),
        ("RECORDS_DATASET", "a-b"),
        ("RECORD_RETENTION_DAYS", "0.5"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv(f"PIPELINES_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        ExporterSettings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PIPELINES_EXPORT_INTERVAL", "99", "export_interval"),
        ("PIPELINES_BIGQUERY_PROJECT", "", "project"),
        ("PIPELINES_LOG_LEVEL", "loud", "'loud'"),
    ],
)
def test_the_process_ends_with_the_field_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("PIPELINES_BIGQUERY_PROJECT", "p")
    monkeypatch.setenv(name, value)
    assert main() == 78
    errors = capsys.readouterr().err
    assert said in errors
    assert "hunter2" not in errors
