"""The quick start's run by HTTP: calls as a person would type them, a key that nobody sees, figures that must agree."""

import json
import shlex
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from typing import Any, ClassVar

import pytest
from rich.console import Console

from pipeline_local import forwarding
from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.quickstart import commands, over_http, results
from pipeline_local.quickstart.calls import Calls, command_line
from pipeline_local.state import State

SECRET = "s" * 43
KEY = f"plk_{'a1' * 8}_{SECRET}"
FIRST: dict[str, Any] = {
    "spec": {
        "org": "acme",
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "parameters": {"start_date": "2026-11-12", "end_date": "2026-11-21"},
    },
    "status": {"runId": "run_1", "recordsProcessed": 7},
}
# What would use it is replaced.
NO_CLIENT: Any = None
PATH = "/api/v1/pipelines/run/acme/gcp/cost/billing"


def record(run_id: str, **changes: Any) -> dict[str, Any]:
    spec = {name: FIRST["spec"][name] for name in ("provider", "domain", "pipeline", "parameters")}
    return {"run_id": run_id, "status": "completed", "records_processed": 7, **spec, **changes}


class Api(BaseHTTPRequestHandler):
    """Answers as the HTTP API does to a run that completes at the third look."""

    seen: ClassVar[list[tuple[str, str, str | None, str]]] = []
    history: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        looks = sum(path.startswith("/api/v1/pipelines/status") for _, path, _, _ in self.seen)
        if "/status/" in self.path:
            status = "completed" if looks >= 2 else "running"
            self.reply(200, {"run_id": "run_2", "status": status, "progress": 50 * looks, "records_processed": 7})
        else:
            self.reply(200, {"runs": self.history})

    def do_POST(self) -> None:
        if self.path == PATH:
            self.reply(200, {"run_id": "run_2", "status": "pending"})
        else:
            self.reply(404, {"detail": "Pipeline not found"})

    def reply(self, status: int, body: Any) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.seen.append((self.command, self.path, self.headers.get("X-API-Key"), text))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Api.seen.clear()
    Api.history[:] = [record("run_2"), record("run_1")]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["curl", "python"])
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "python":
        monkeypatch.setattr(shutil, "which", lambda _: None)
    elif shutil.which("curl") is None:
        pytest.skip("this machine has no curl")
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")  # nothing listens there
    return name


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_calls_are_shown_as_they_would_be_typed() -> None:
    assert command_line("GET", "/a?b=c") == 'curl -H "X-API-Key: $KEY" "$PIPELINES_BRIDGE_URL/a?b=c"'
    shown = command_line("POST", "/a", {"date": "it's"})
    words = shlex.split(shown)
    assert words[3:7] == ["-H", "Content-Type: application/json", "-d", '{"date": "it\'s"}']
    assert "-X" not in words
    assert shlex.split(command_line("POST", "/a"))[3:5] == ["-X", "POST"]


def test_a_call_carries_the_key_and_shows_all_but_it(url: str, program: str) -> None:
    console = Console(file=StringIO())
    answer = Calls(console, url, KEY)("POST", PATH, {"date": "2026-11-21"})
    assert answer == {"run_id": "run_2", "status": "pending"}
    assert Api.seen[0][:3] == ("POST", PATH, KEY)
    assert json.loads(Api.seen[0][3]) == {"date": "2026-11-21"}
    assert f"$PIPELINES_BRIDGE_URL{PATH}" in said(console)
    assert json.dumps(answer) in said(console)
    assert SECRET not in said(console)
    assert ("no curl on this machine" in said(console)) is (program == "python")


@pytest.mark.usefixtures("program")
def test_a_refusal_is_told_in_the_apis_words(url: str) -> None:
    with pytest.raises(LocalError, match=r"POST /elsewhere was answered with 404: .*Pipeline not found"):
        Calls(Console(file=StringIO()), url, KEY)("POST", "/elsewhere", {})


@pytest.mark.usefixtures("program")
def test_an_api_that_is_away_is_named() -> None:
    with pytest.raises(LocalError, match=r"http://127\.0\.0\.1:1/elsewhere failed"):
        Calls(Console(file=StringIO()), "http://127.0.0.1:1", KEY)("GET", "/elsewhere")


class Pipelines:
    """Stands in for the program `pipelines`: remembers what it is asked for, and makes the same key each time."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> str:
        self.commands.append(arguments)
        return f"key created\n{KEY}\n" if arguments[1] == "create" else "key is revoked\n"


@pytest.fixture
def pipelines(monkeypatch: pytest.MonkeyPatch, url: str) -> Pipelines:
    made = Pipelines()
    monkeypatch.setattr(commands, "told", made)
    monkeypatch.setattr(results, "check_sums", lambda *_: 10)
    monkeypatch.setattr(over_http, "_POLL_SECONDS", 0.0)
    monkeypatch.setenv("PIPELINES_BRIDGE_URL", url)
    return made


def test_the_run_is_asked_for_followed_and_compared_and_its_key_ended(pipelines: Pipelines) -> None:
    console = Console(file=StringIO())
    over_http.show_and_check(NO_CLIENT, FIRST, console)
    methods = [(method, path) for method, path, _, _ in Api.seen]
    status = ("GET", "/api/v1/pipelines/status/acme/run_2")
    assert methods == [("POST", PATH), *[status] * 4, ("GET", "/api/v1/pipelines/history/acme?provider=gcp&limit=2")]
    assert {key for _, _, key, _ in Api.seen} == {KEY}
    assert json.loads(Api.seen[0][3]) == FIRST["spec"]["parameters"]
    create, revoke = pipelines.commands
    assert create[:3] == ("keys", "create", "acme")
    assert create[create.index("--expires") + 1] == "1h"
    assert revoke == ("keys", "revoke", "a1" * 8)
    assert SECRET not in said(console)
    assert "on all 10 days" in said(console)


def test_the_key_is_ended_whatever_happens(pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_BRIDGE_URL", "http://127.0.0.1:1")
    with pytest.raises(LocalError, match="failed"):
        over_http.show_and_check(NO_CLIENT, FIRST, Console(file=StringIO()))
    assert [command[1] for command in pipelines.commands] == ["create", "revoke"]


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([record("run_1"), record("run_2")], "the history should begin with"),
        ([record("run_2")], "the history should begin with"),
        ([record("run_2", records_processed=8), record("run_1")], r"isn't the first run once more.*records_processed"),
        ([record("run_2", status="running"), record("run_1")], r"isn't the first run once more.*status"),
        ([record("run_2", parameters={}), record("run_1")], r"isn't the first run once more.*parameters"),
        ([record("run_2", records_processed=8), record("run_1", records_processed=8)], "has 8 records"),
    ],
)
def test_another_history_is_an_error(history: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(LocalError, match=message):
        over_http.check(history, "run_2", FIRST)


@pytest.mark.parametrize("text", ["", "key created", f"plk-{SECRET}"])
def test_what_is_no_key_is_not_shown(text: str) -> None:
    with pytest.raises(LocalError, match="didn't end with a key") as caught:
        over_http.key_id(text)
    assert not text or text not in str(caught.value)


def test_dev_services_and_bridge_are_forwarded_each_by_a_command(tmp_path: Any) -> None:
    state = State(tmp_path)
    kubectl = Kubectl(Paths(tmp_path, tmp_path), "pipelines")
    forwards = forwarding.forward_commands(kubectl, state)
    assert forwards.keys() == {"dev-services", "bridge"}
    assert forwards["bridge"][-2:] == ["service/pipelines-bridge", f"{state.port('bridge')}:http"]
    assert forwards["dev-services"][-5] == "service/pipelines-dev-services"
    assert forwards["dev-services"][-1] == f"{state.port('simulators')}:simulators"
