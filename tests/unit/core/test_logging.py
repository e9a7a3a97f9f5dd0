"""Logs are JSON lines on standard error, of libraries too, and never hold a credential."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from pipeline_core.logging import configure_logging


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_our_lines_and_a_librarys_have_the_same_shape(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "exporter")
    structlog.contextvars.bind_contextvars(run_id="run_1")
    structlog.get_logger("ours").info("exported", rows=3)
    logging.getLogger("theirs").warning("%s of %d", "one", 2)
    ours, theirs = lines(capsys)
    assert (ours["event"], ours["rows"], ours["logger"], ours["level"]) == ("exported", 3, "ours", "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("one of 2", "theirs", "warning")
    for line in (ours, theirs):
        assert (line["component"], line["run_id"]) == ("exporter", "run_1")
        assert line["timestamp"].endswith("Z")


def test_the_level_holds_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING", "x")
    structlog.get_logger("ours").info("no")
    logging.getLogger("theirs").info("no")
    assert lines(capsys) == []


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="'loud'"):
        configure_logging("loud", "x")


API_KEY = f"plk_a1b2c3d4e5f6g7h8_{'hunter2-' * 5}x_y"

SECRETS = [
    "postgresql://pipelines:hunter2-hunter2@db:5432/x",
    "Authorization: Bearer hunter2-hunter2",
    "{'api_key': 'x', 'password': 'hunter2-hunter2'}",
    "password=hunter2-hunter2 host=db",
    '{"token": "hunter2-hunter2"}',
    "client_secret: hunter2-hunter2",
    "sk-ant-hunter2-hunter2-hunter2",
    "GET /x?k%3Dsk-ant-hunter2-hunter2-hunter2 HTTP/1.1",
    "https://hunter2hunter2hunter2@github.com/x",
    "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
    API_KEY,
    f"{API_KEY[:-20]} is cut off",
    f"GET /x?k%3D{API_KEY} HTTP/1.1",
    "plk_HUNTER2-hunter2",
    "X-API-Key: hunter2",
    "x-api-key=hunter2",
    "{'X-API-Key': 'hunter2'}",
    '{"x-api-key":"hunter2"}',
    "[(b'host', b'x'), (b'x-api-key', b'hunter2')]",
    '("X-Api-Key", "hunter2")',
    # in parts, so that nobody who looks for lost keys finds these
    f"ghp_{'hunter2' * 6}",
    f"github_pat_{'hunter2_' * 6}",
    f"glpat-{'hunter2-' * 3}",
    f"xoxb-{'hunter2-' * 3}",
    f"id AKIA{'HUNTER2' * 2}XX of nobody",
    f"key=AIza{'hunter2' * 5}&alt=json",
    f"GET /x?jwt=eyJ{'hunter2' * 3}.eyJ{'hunter2' * 3}.{'hunter2' * 3} HTTP/1.1",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_no_credential_comes_through(capsys: pytest.CaptureFixture[str], secret: str) -> None:
    configure_logging("info", "x")
    log = structlog.get_logger("ours")
    log.info(secret)
    log.info("event", progress_token="hunter2", nested={"api_key": "hunter2"})
    log.info("event", value=secret, nested={"list": [secret]}, error=ValueError(secret))
    logging.getLogger("theirs").error("failed: %s", secret)
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed")
    captured = capsys.readouterr().err
    assert "hunter2" not in captured.lower()
    assert len(captured.splitlines()) == 6


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "hunter2", "host": "x"},
        [("host", "x"), ("x-api-key", "hunter2")],
        [(b"host", b"x"), (b"x-api-key", b"hunter2")],
        ((b"X-Api-Key", b"hunter2"),),
    ],
)
def test_no_header_with_a_key_comes_through(capsys: pytest.CaptureFixture[str], headers: object) -> None:
    configure_logging("info", "x")
    structlog.get_logger("ours").info("asked", headers=headers, scope={"headers": headers})
    (line,) = lines(capsys)
    assert "hunter2" not in str(line)
    assert "x-api-key" in str(line).lower()


def test_the_id_of_a_key_stays(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "x")
    structlog.get_logger("ours").info(f"given {API_KEY}, refused", key_id="a1b2c3d4e5f6g7h8")
    (line,) = lines(capsys)
    assert line["event"] == "given plk_a1b2c3d4e5f6g7h8_[redacted], refused"
    assert line["key_id"] == "a1b2c3d4e5f6g7h8"


@pytest.mark.parametrize(
    "text",
    [
        "Pipeline not found: a/b/c",
        "table a:b.c",
        "http://127.0.0.1:8080/x?y=z",
        "at 10:30",
        "a token, or a secret",
        "AKIA is how they begin",
        "eyJ0.eyJ1",
        "ghp_short",
    ],
)
def test_plain_text_stays(capsys: pytest.CaptureFixture[str], text: str) -> None:
    configure_logging("info", "x")
    structlog.get_logger("ours").info(text)
    assert lines(capsys)[0]["event"] == text


def test_a_traceback_has_no_values_of_variables(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "x")

    def fail(local: str) -> None:
        raise RuntimeError

    try:
        fail("hunter" + "2")
    except RuntimeError:
        structlog.get_logger("ours").exception("failed")
    (line,) = lines(capsys)
    assert "RuntimeError" in line["exception"]
    assert "hunter2" not in line["exception"]


def test_what_nobody_caught_is_a_line_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "x")
    error = RuntimeError("over")
    sys.excepthook(RuntimeError, error, None)
    (line,) = lines(capsys)
    assert (line["level"], line["logger"]) == ("critical", "uncaught")
    assert "over" in line["exception"]
