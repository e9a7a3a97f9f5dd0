"""Makes many objects at once, as users would, and sees by a watch when each of them has ended."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

Json = dict[str, Any]

_WORKERS = 16
_LONGEST_EVENT = 4 * 1024 * 1024


def _run_is_over(run: Json) -> bool:
    phase = run.get("status", {}).get("phase")
    assert phase not in {"Failed", "Cancelled"}, run["status"]
    return bool(phase == "Completed")


def _job_is_over(job: Json) -> bool:
    conditions = {each["type"]: each["status"] for each in job.get("status", {}).get("conditions", ())}
    assert conditions.get("Failed") != "True", job["status"]
    return conditions.get("Complete") == "True"


@dataclass(frozen=True)
class Kind:
    """Objects to be made: their path below a namespace, and how one shows that it has ended well."""

    group: str
    plural: str
    is_over: Callable[[Json], bool]

    def path(self, namespace: str) -> str:
        return f"{self.group}/namespaces/{namespace}/{self.plural}"


RUNS = Kind("/apis/pipelines.dev/v1alpha1", "pipelineruns", _run_is_over)
JOBS = Kind("/apis/batch/v1", "jobs", _job_is_over)
PODS = "/api/v1/namespaces/{}/pods"
_OF_A_JOB = "batch.kubernetes.io/job-name"


@dataclass(frozen=True)
class Timing:
    """Seconds, by the client's own clock: object timestamps have no fractions."""

    wall: float
    """From the first create call to the last end."""
    each: list[float]
    """From the return of the create call to the watch's event that shows the end."""


class ApiServer:
    """The API server, as the kubeconfig's user sees it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, path: str, body: Json | None = None, **query: str) -> Json:
        """One call; fails with what the server said."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, path, data=data, params=query, headers={"Content-Type": kind}
        ) as answer:
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status}: {text[:500]}"
            found: Json = json.loads(text)
            return found

    async def text(self, path: str) -> str:
        """What isn't JSON, such as the metrics."""
        async with self._session.get(path) as answer:
            return await answer.text()

    async def timed(self, kind: Kind, namespace: str, manifests: Sequence[Json], within: float = 600.0) -> Timing:
        """Create them as fast as the server takes them, and wait until all have ended well."""
        path = kind.path(namespace)
        version = (await self.request("GET", path, limit="1"))["metadata"]["resourceVersion"]
        created: dict[str, float] = {}
        ended: dict[str, float] = {}

        async def create(manifest: Json) -> None:
            await self.request("POST", path, manifest)
            created[manifest["metadata"]["name"]] = monotonic()

        began = monotonic()
        async with asyncio.timeout(within), asyncio.TaskGroup() as group:
            group.create_task(at_once(manifests, create))
            names = {manifest["metadata"]["name"] for manifest in manifests}
            while len(ended) < len(names):  # the server ends a watch when it likes, above all a slow one
                async with aclosing(self.watch(path, version)) as events:
                    async for seen in events:
                        name, version = seen["metadata"]["name"], seen["metadata"]["resourceVersion"]
                        if name in names and name not in ended and kind.is_over(seen):
                            ended[name] = monotonic()
                            if len(ended) == len(names):
                                break
        return Timing(max(ended.values()) - began, [ended[name] - created[name] for name in created])

    async def watch(self, path: str, version: str) -> AsyncGenerator[Json, None]:
        """The objects of a watch, as they change from a version on; it ends when the server likes."""
        query = {"watch": "1", "resourceVersion": version}
        async with self._session.get(path, params=query) as answer:
            async for line in answer.content:
                event = json.loads(line)
                assert event["type"] != "ERROR", event
                yield event["object"]

    async def clear(self, namespace: str) -> None:
        """Delete all runs and Jobs, and wait until the pods that came of them are gone as well."""
        for kind in (RUNS, JOBS):
            await self.request("DELETE", kind.path(namespace), {"propagationPolicy": "Background"})
        for path, selector in ((JOBS.path(namespace), ""), (PODS.format(namespace), _OF_A_JOB)):
            while (await self.request("GET", path, limit="1", labelSelector=selector))["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.5)


async def at_once(manifests: Sequence[Json], work: Callable[[Json], Awaitable[None]]) -> None:
    """Do something with all of them, several at a time."""
    queue = iter(manifests)

    async def worker() -> None:
        for manifest in queue:
            await work(manifest)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_WORKERS, len(manifests))):
            group.create_task(worker())


@asynccontextmanager
async def api_server(kubeconfig: Path) -> AsyncIterator[ApiServer]:
    """A connection with the certificate in the kubeconfig."""
    server, context = _read(kubeconfig)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(
        server,
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=timeout,
        read_bufsize=_LONGEST_EVENT,
    ) as session:
        yield ApiServer(session)


def _read(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """The server's address, and what proves both sides."""
    document = json.loads(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as pair:  # ssl reads a client's certificate from files only
        pair.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return cluster["server"], context
