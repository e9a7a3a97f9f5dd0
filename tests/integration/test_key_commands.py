"""`pipelines keys`: a key is written once and works with the pepper; listed, rotated, revoked; what is refused."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner, Result

from pipeline_cli.main import app
from pipeline_core.api_keys import matches, parse_key

RUNNER = CliRunner()
PEPPER = "pepper-of-the-tests-" * 2
READ = ("--name", "ci", "--scope", "read")


def result_of(*arguments: str, code: int = 0) -> Result:
    result = RUNNER.invoke(app, ["keys", *arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def run(*arguments: str, code: int = 0) -> str:
    return result_of(*arguments, code=code).output


def stored(url: str, key_id: str) -> bytes:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT digest FROM api_key WHERE key_id = %s", [key_id]).fetchone()
    assert row is not None
    return bytes(row[0])


def listed(*arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("list", *arguments, "--output", "json"))
    return found


def made(*arguments: str) -> dict[str, str]:
    key: dict[str, str] = json.loads(result_of("create", *arguments, "-o", "json").stdout)
    return key


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)
    monkeypatch.setenv("PIPELINES_API_KEY_PEPPER", PEPPER)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO organizations (org_slug) VALUES ('acme'), ('globex')")


def test_a_key_stands_alone_on_the_last_line_and_works(database_url: str) -> None:
    result = result_of("create", "acme", *READ, "--scope", "run", "--requests-per-minute", "60")
    sentence, text = result.stdout.splitlines()
    parsed = parse_key(text)
    assert parsed is not None
    key_id, secret = parsed
    told = f"key {key_id} of acme (ci: read, run; never expires, 60 requests a minute) created"
    assert (sentence, result.stderr) == (told, "the key is not shown again: only a digest of it is stored\n")
    assert matches(PEPPER.encode(), secret, stored(database_url, key_id))


def test_as_json_it_is_one_document(database_url: str) -> None:
    result = result_of("create", "acme", *READ, "--expires", "90d", "--output", "json")
    key = json.loads(result.stdout)
    parsed = parse_key(key.pop("key"))
    assert parsed is not None
    assert matches(PEPPER.encode(), parsed[1], stored(database_url, key["key_id"]))
    assert result.stderr == "the key is not shown again: only a digest of it is stored\n"
    assert listed("acme") == [{**key, "state": "active"}]
    assert (key["org_slug"], key["name"], key["scopes"]) == ("acme", "ci", ["read"])
    assert in_days(89.99) < datetime.fromisoformat(key["expires_at"]) < in_days(90)


def test_a_key_may_end_with_a_day() -> None:
    assert made("acme", *READ, "--expires", "2127-01-31")["expires_at"] == "2127-01-31T00:00:00+00:00"


def test_keys_are_listed_without_their_secrets() -> None:
    keys = [made(org, "--name", f"[bold]{org}", "--scope", "admin") for org in ("globex", "acme")]
    run("revoke", keys[0]["key_id"])
    shown = run("list")
    assert [line.split()[:5] for line in shown.splitlines()[1:]] == [
        [keys[1]["key_id"], "acme", "[bold]acme", "admin", "active"],
        [keys[0]["key_id"], "globex", "[bold]globex", "admin", "revoked"],
    ]
    everything = shown + run("list", "-o", "json")
    assert "plk_" not in everything
    assert all(key["key"][21:] not in everything for key in keys)
    assert [each["key_id"] for each in listed("acme")] == [keys[1]["key_id"]]
    assert listed("initech") == []


def test_a_rotated_key_ends_after_its_grace() -> None:
    old = made("acme", *READ, "--requests-per-minute", "60")
    result = result_of("rotate", old["key_id"], "--grace", "7d")
    sentence, text = result.stdout.splitlines()
    parsed = parse_key(text)
    assert parsed is not None
    assert sentence == (
        f"key {parsed[0]} of acme (ci: read; never expires, 60 requests a minute) created; "
        f"{old['key_id']} ends after 7d at the latest"
    )
    first, second = listed()
    assert (first["state"], first["replaced_by"]) == ("active", parsed[0])
    assert in_days(6.99) < datetime.fromisoformat(str(first["expires_at"])) < in_days(7)
    same = ("org_slug", "name", "scopes", "requests_per_minute")
    assert [second[name] for name in same] == [first[name] for name in same]
    assert run("rotate", old["key_id"], code=78) == (
        f"API key {old['key_id']} was rotated to {parsed[0]}: rotate that one instead\n"
    )


def test_without_grace_it_ends_at_once() -> None:
    old = made("acme", *READ)
    new = json.loads(result_of("rotate", old["key_id"], "--grace", "0", "-o", "json").stdout)
    assert parse_key(new["key"]) is not None
    assert [(each["key_id"], each["state"]) for each in listed()] == [
        (old["key_id"], "expired"),
        (new["key_id"], "active"),
    ]


def test_a_key_is_revoked_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    key = made("acme", *READ)
    monkeypatch.delenv("PIPELINES_API_KEY_PEPPER")  # needed for making keys only
    said = run("revoke", key["key_id"])
    assert said.startswith(f"key {key['key_id']} of acme (ci) is revoked since 20")
    assert run("revoke", key["key_id"]) == said
    assert [each["state"] for each in listed()] == ["revoked"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("acme", "--name", "", "--scope", "read"), "name '': expected 1 to 100"),
        (("Acme", *READ), "org_slug 'Acme'"),
        (("initech", *READ), "Organization not found: initech"),
        (("acme", *READ, "--requests-per-minute", "0"), "requests_per_minute 0: expected"),
        (("acme", *READ, "--expires", "90"), "expires '90': expected a time to come"),
        (("acme", *READ, "--expires", "0d"), "expires '0d': expected a time to come"),
        (("acme", *READ, "--expires", "2020-01-31"), "expires '2020-01-31': expected a time to come"),
        (("acme", *READ, "--expires", "2027-02-30"), "expires '2027-02-30': expected a time to come"),
    ],
)
def test_a_wrong_key_is_refused_in_one_line(arguments: tuple[str, ...], words: str) -> None:
    said = run("create", *arguments, code=78)
    assert words in said
    assert said.count("\n") == 1
    assert listed() == []


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_given_for_its_id_is_not_repeated(command: str) -> None:
    key = made("acme", *READ)
    said = run(command, key["key"], code=78)
    assert said.startswith("key_id: expected the 16 lower-case letters and digits between plk_ and the next _")
    assert key["key"][21:] not in said
    assert run(command, "0" * 16, code=78) == f"API key not found: {'0' * 16}\n"


def test_a_wrong_grace_is_refused() -> None:
    key = made("acme", *READ)
    assert run("rotate", key["key_id"], "--grace", "soon", code=78) == (
        "grace 'soon': expected a time such as 30m, 24h or 90d, or 0\n"
    )
    assert len(listed()) == 1


@pytest.mark.parametrize("arguments", [("create", "acme", *READ), ("rotate", "0" * 16)])
@pytest.mark.parametrize(
    ("pepper", "words"), [(None, "Field required"), ("hunter2", "expected at least 32 characters")]
)
def test_without_a_pepper_the_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], pepper: str | None, words: str
) -> None:
    monkeypatch.delenv("PIPELINES_API_KEY_PEPPER")
    if pepper is not None:
        monkeypatch.setenv("PIPELINES_API_KEY_PEPPER", pepper)
    assert run(*arguments, code=78) == f"settings of the environment: PIPELINES_API_KEY_PEPPER: {words}\n"
