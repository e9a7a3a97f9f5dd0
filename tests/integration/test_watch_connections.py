"""What kopf's informer does where a watch is silent for ever, and where one is refused.

A small server speaks the API's discovery, list and watch. A watch can be a black hole: accepted, never answered.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import web

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_local.services.processes import free_port
from pipeline_operator import informer as informer_module
from pipeline_operator.cache import Cache
from pipeline_operator.expectations import Expectations
from pipeline_operator.informer import Informer, WatchEndedError
from pipeline_operator.intake import Intake
from support.waiting import eventually

_WATCHED = (names.RUNS, "jobs", "pods")


class Server:
    """One run to be seen, once by listing; what comes later is shown to the watches that aren't black holes."""

    def __init__(self) -> None:
        self.version = 1
        self.watches: dict[str, int] = dict.fromkeys(_WATCHED, 0)
        self.black_holes = True
        # Namespaces in which nothing may be done, as where the Role went.
        self._forbidden: dict[str, asyncio.Event] = {"default": asyncio.Event(), "other": asyncio.Event()}
        self.runs: dict[str, Json] = {}
        self.put("first")

    def forbid(self, namespace: str) -> None:
        """Refuse everything in it from now on, and end its watches.

        Those of other namespaces go on: kopf can't end a watch that times out in the same moment (a cancellation is
        lost there), which is as seldom as the timeout is long.
        """
        self._forbidden[namespace].set()

    def put(self, name: str) -> Json:
        self.version += 1
        metadata = {
            "name": name,
            "namespace": "default",
            "uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
            "resourceVersion": str(self.version),
            "creationTimestamp": "2026-11-22T03:00:00Z",
        }
        body = {"apiVersion": names.API_VERSION, "kind": names.RUN_KIND, "metadata": metadata, "spec": {}}
        self.runs[name] = body
        return body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/")
        if path in _DISCOVERY:
            return web.json_response(_DISCOVERY[path])
        plural = path.rsplit("/", 1)[-1]
        if plural not in _WATCHED:
            return web.json_response({"kind": "Status", "code": 404}, status=404)
        if self._forbidden[_namespace_of(path)].is_set():
            return web.json_response({"kind": "Status", "code": 403, "reason": "Forbidden"}, status=403)
        if "watch" in request.query:
            return await self._watch(request, plural)
        items = list(self.runs.values()) if plural == names.RUNS and "/default/" in path else []
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self.version)}})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        self.watches[plural] += 1
        response = web.StreamResponse()
        await response.prepare(request)
        if not self.black_holes:
            for body in self.runs.values() if plural == names.RUNS else ():
                if int(body["metadata"]["resourceVersion"]) > int(request.query["resourceVersion"]):
                    await response.write(json.dumps({"type": "ADDED", "object": body}).encode() + b"\n")
        await self._forbidden[_namespace_of(request.path)].wait()
        return response


def _namespace_of(path: str) -> str:
    return path.partition("namespaces/")[2].partition("/")[0]


def _resources(group_version: str, **kinds: str) -> Json:
    verbs = ["get", "list", "watch", "patch", "delete", "create"]
    common = {"singularName": "", "namespaced": True, "verbs": verbs}
    return {
        "groupVersion": group_version,
        "resources": [{"name": plural, "kind": kind, **common} for plural, kind in kinds.items()],
    }


def _group(name: str, version: str) -> Json:
    preferred = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [preferred], "preferredVersion": preferred}


_DISCOVERY: dict[str, Json] = {
    "version": {"major": "1", "minor": "34"},
    "api": {"versions": ["v1"]},
    "apis": {"groups": [_group("batch", "v1"), _group(names.GROUP, names.VERSION)]},
    "api/v1": _resources("v1", pods="Pod", namespaces="Namespace"),
    "apis/batch/v1": _resources("batch/v1", jobs="Job"),
    f"apis/{names.API_VERSION}": _resources(names.API_VERSION, **{names.RUNS: names.RUN_KIND}),
}


class Place:
    """The server, and an informer that watches it."""

    def __init__(self, server: Server, namespaces: Sequence[str]) -> None:
        self.server = server
        self.cache = Cache()
        self.expectations = Expectations(namespaces, 90.0, asyncio.get_running_loop().time)
        self.informer = Informer(Intake(self.cache, lambda _uid: None, self.expectations), namespaces)
        self.task = asyncio.create_task(self.informer.run())

    async def seen(self, name: str) -> bool:
        return any(run.name == name for run in self.cache.runs())

    async def watched(self, times: int) -> bool:
        return self.server.watches[names.RUNS] >= times


@asynccontextmanager
async def watching(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[kopf.OperatorSettings], None],
    namespaces: Sequence[str] = ("default",),
) -> AsyncIterator[Place]:
    settings = informer_module._settings()
    change(settings)
    monkeypatch.setattr(informer_module, "_settings", lambda: settings)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    server, port = Server(), free_port()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(port)))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    place = Place(server, namespaces)
    try:
        await eventually(lambda: place.seen("first"))
        await eventually(lambda: place.watched(1))
        yield place
    finally:
        place.task.cancel()
        await asyncio.wait([place.task])
        await runner.cleanup()


def _kubeconfig(port: int) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }


def _inactivity(settings: kopf.OperatorSettings) -> None:
    settings.watching.inactivity_timeout = 0.5


def _client(settings: kopf.OperatorSettings) -> None:
    settings.watching.inactivity_timeout, settings.watching.client_timeout = 600, 0.5


def _impatient(settings: kopf.OperatorSettings) -> None:
    settings.watching.inactivity_timeout, settings.watching.client_timeout = 600, 600
    settings.networking.error_backoffs = [0.1]


def _neither(settings: kopf.OperatorSettings) -> None:
    settings.watching.inactivity_timeout, settings.watching.client_timeout = 600, 600


@pytest.mark.parametrize("change", [_inactivity, _client])
async def test_a_black_hole_is_left_by_either_timeout_and_nothing_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[kopf.OperatorSettings], None]
) -> None:
    async with watching(tmp_path, monkeypatch, change) as place:
        place.server.put("second")
        await eventually(lambda: place.watched(3))
        assert not await place.seen("second")
        place.server.black_holes = False
        await eventually(lambda: place.seen("second"))


async def test_without_them_the_watch_stays_blind_and_the_expectations_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(tmp_path, monkeypatch, _neither) as place:
        place.server.black_holes = False
        place.expectations.told(names.RUNS, place.server.put("second"))
        at = asyncio.get_running_loop().time()
        monkeypatch.setattr(place.expectations, "_now", lambda: at)
        for _ in range(20):
            at += 5
            place.expectations.answered()
        assert place.server.watches[names.RUNS] == 1
        assert "the watch of pipelineruns is blind" in (place.expectations.blind() or "")


# kopf's other watches may have logged in anew while it ended, and leave that connection open: uvloop warns of it when
# it closes, and doesn't close where the warning is an error.
@pytest.mark.filterwarnings("default:unclosed resource <TCPTransport:ResourceWarning")
async def test_where_one_watch_is_refused_for_good_the_informer_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may go on blind: not in that namespace, and not in the others, whose watches kopf ends with it."""
    async with watching(tmp_path, monkeypatch, _impatient, ["default", "other"]) as place:
        place.server.forbid("other")
        done, _ = await asyncio.wait([place.task], timeout=30)
        assert done, "the informer goes on though kopf has ended"
        with pytest.raises(WatchEndedError, match="APIForbiddenError"):
            place.task.result()


def test_the_settings_that_protect() -> None:
    """kopf reconnects after 70 s without a bookmark (they come each 60 s), before a watch counts as blind."""
    watching = informer_module._settings().watching
    assert 60 < watching.inactivity_timeout < 90 - (watching.connect_timeout or 0)
    assert watching.client_timeout is not None
