"""The database's address: white space around it is dropped, and a wrong one is told without its password."""

import pytest
from pydantic import ValidationError

from pipeline_core.settings import DatabaseSettings
from pipeline_core.store.engine import driver_url
from pipeline_core.store.migrate import main

URL = "postgresql://user:hunter2@host:5432/database"


@pytest.mark.parametrize("text", [URL, f"{URL}\n", f" {URL}\r\n"])
def test_white_space_around_it_is_dropped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", text)
    assert DatabaseSettings().database_url.get_secret_value() == URL
    assert driver_url(text).database == "database"


@pytest.mark.parametrize(
    "text",
    [
        "postgres://u:hunter2@h/d",
        "postgresql://h",
        "postgresql:///d?host=/run/postgresql",
        "postgresql://u:hunter2@[::1]:5432/d",
        "postgresql://u:a/b:c#d?[e@h:6543/d?sslmode=verify-full&sslrootcert=system",
        "postgresql://u:hunter2@h/d?application_name=a@b",
    ],
)
def test_what_the_driver_reads_is_accepted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", text)
    assert DatabaseSettings().database_url.get_secret_value() == text
    driver_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mysql://u:hunter2@h/d",
        "u:hunter2@h/d",
        "postgresql+asyncpg://u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2@h/d e",
        "postgresql://u:hunter2@h/d\npostgresql://u:hunter2@h/d",
    ],
)
def test_another_form_is_one_line_without_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", text)
    with pytest.raises(ValidationError) as caught:
        DatabaseSettings()
    (problem,) = caught.value.errors()
    assert problem["msg"] == "PIPELINES_DATABASE_URL isn't of the form postgresql://user:password@host:port/database"
    assert "hunter2" not in str(caught.value)
    assert main() == 78
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert "hunter2" not in printed.out + printed.err
