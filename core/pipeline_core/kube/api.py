"""Talks to the Kubernetes API: one pooled connection, JSON in and out as plain dicts, and logs as bytes.

The generated classes of the client are left out on purpose: they cost more CPU a run than everything else here. What is
used of it is its configuration (kubeconfig, service account, token rotation) and its HTTP session.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.config import load_incluster_config, load_kube_config

Json = dict[str, Any]

_TIMEOUT_SECONDS = 30
# A stream may last as long as a run. One that says nothing for this long may have lost its other end: the reader asks
# again.
_SILENCE_SECONDS = 300


class KubeError(Exception):
    """The API server's refusal: `status` is HTTP's, `reason` Kubernetes' (`NotFound`, `AlreadyExists`, …)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class KubeUnavailableError(Exception):
    """No answer, or one that says to try again; whether the request was carried out isn't known."""


class KubeNotReachedError(KubeUnavailableError):
    """No connection: the request certainly wasn't carried out."""


class Api(Protocol):
    """What the parts need of a connection."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        """One call. Raises KubeError where the server refuses, KubeUnavailableError where it doesn't answer."""
        ...


class StreamingApi(Api, Protocol):
    """A connection that can also read what has no end yet."""

    def stream(
        self, path: str, *, query: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The body of a GET as it comes, until the server ends it; leaving the block closes the connection.

        Raises as `request` does; KubeUnavailableError within the block where the stream breaks off or falls silent.
        """
        ...


class KubeApi:
    """The real connection; close it with `close()`."""

    def __init__(self, configuration: client.Configuration) -> None:
        # Or aiohttp would look for a .netrc file, in a thread, for every request.
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self._client = client.ApiClient(configuration)
        self._streams: aiohttp.ClientSession | None = None

    @classmethod
    async def from_environment(cls) -> "KubeApi":
        """In a pod by its service account, elsewhere by KUBECONFIG's current context."""
        configuration = client.Configuration()
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(configuration)
        else:
            await load_kube_config(client_configuration=configuration)
        return cls(configuration)

    async def close(self) -> None:
        """Close the sessions."""
        if self._streams is not None:
            await self._streams.close()
        await self._client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        """See `Api`. A PATCH is a merge patch (RFC 7386)."""
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {**await self._authorization(), "Accept": "application/json", "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        with _unavailability(method, path):
            response = await self._client.rest_client.request(
                method, self._url(path, query), headers=headers, body=body, _request_timeout=timeout
            )
            raw = await response.read()
        return _answer(method, path, response.status, raw)

    @asynccontextmanager
    async def stream(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `StreamingApi`."""
        rest = self._client.rest_client
        if self._streams is None:
            # Not the pool of the requests: streams would take its connections for as long as they last.
            connector = aiohttp.TCPConnector(limit=0, ssl=rest.ssl_context)
            self._streams = aiohttp.ClientSession(connector=connector, trust_env=False)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS, sock_read=_SILENCE_SECONDS)
        headers = {**await self._authorization(), "Accept": "*/*", "Accept-Encoding": "identity"}
        with _unavailability("GET", path):
            response = await self._streams.get(
                self._url(path, query),
                headers=headers,
                timeout=timeout,
                proxy=rest.proxy,
                proxy_headers=rest.proxy_headers,
                server_hostname=self._configuration.tls_server_name,
            )
        try:
            if response.status != 200:
                with _unavailability("GET", path):
                    raw = await response.read()
                _answer("GET", path, response.status, raw)
            async with aclosing(_chunks(response, path)) as chunks:
                yield chunks
        finally:
            response.close()

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")

    async def _authorization(self) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        return {"Authorization": token} if token else {}


@contextmanager
def _unavailability(method: str, path: str) -> Iterator[None]:
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise KubeNotReachedError(f"{method} {path}: {type(error).__name__}: {error}") from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise KubeUnavailableError(f"{method} {path}: {type(error).__name__}: {error}") from error


async def _chunks(response: aiohttp.ClientResponse, path: str) -> AsyncGenerator[bytes, None]:
    with _unavailability("GET", path):
        async for chunk in response.content.iter_any():
            yield chunk


def _answer(method: str, path: str, status: int, raw: bytes) -> Json:
    try:
        answer = json.loads(raw) if raw else {}
    except ValueError:
        answer = {}
    if 200 <= status < 300:
        return dict(answer)
    message = answer.get("message") or raw[:300].decode(errors="replace") or f"HTTP {status}"
    # A 500 with this reason is about the request: a webhook that can't be called. Those of etcd's troubles have others.
    if status == 429 or (status >= 500 and answer.get("reason") != "InternalError"):
        raise KubeUnavailableError(f"{method} {path}: HTTP {status}: {message}")
    raise KubeError(status, answer.get("reason") or "", message)
