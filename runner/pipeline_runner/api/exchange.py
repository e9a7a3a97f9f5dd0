"""One request and its whole answer, bounded in time and size; what fails is told without the key."""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx2
from pydantic import SecretStr

from pipeline_core import __version__
from pipeline_runner.api.address import base_address, header_value, is_loopback
from pipeline_runner.api.answers import said
from pipeline_runner.masking import protect
from pipeline_runner.settings import ApiSettings

# Of an answer that isn't a success only the beginning is of use.
_MAX_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """`headers` by lower-case name; `body` unpacked, and only its beginning where it was `oversized`.

    Neither is in its repr, since a provider may send back what it was sent.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytearray = field(repr=False)
    oversized: bool


class Exchange:
    """Sends requests to one address, with secret headers that go nowhere else. Raises ConfigError as base_address."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        secret_headers: Mapping[str, SecretStr],
        *,
        at_once: int,
        settings: ApiSettings,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        address = base_address(base_url, settings.hosts)
        self._base = str(address).rstrip("/")
        self._settings = settings
        for name, secret in secret_headers.items():
            # Word by word, since only what follows "Bearer" is secret.
            for word in header_value(name, secret).split():
                protect(word)
        self._http = httpx2.AsyncClient(
            auth=_SecretHeaders(secret_headers),
            # Unpacked, a chunk in gzip is at most a thousand times as large; others know no such bound.
            headers={"User-Agent": f"pipelines/{__version__}", "Accept-Encoding": "gzip", **headers},
            timeout=httpx2.Timeout(settings.read_seconds, connect=settings.connect_seconds, pool=None),
            limits=httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once),
            follow_redirects=False,
            # Proxies come from the environment, but no proxy leads to this machine itself.
            trust_env=not is_loopback(address),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, path: str, query: Sequence[tuple[str, str]]) -> Answer | str:
        """The answer, whatever its status, or why there is none.

        That is a text and no exception: those of the HTTP library hold the request, and so the key.
        """
        try:
            async with (
                asyncio.timeout(self._settings.answer_seconds),
                self._http.stream("GET", f"{self._base}{path}", params=list(query)) as response,
            ):
                limit = self._settings.max_body_bytes if response.is_success else _MAX_ERROR_BYTES
                body, oversized = await _read(response, limit)
                return Answer(response.status_code, dict(response.headers.items()), body, oversized)
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            text = said(str(error))
            return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def _read(response: httpx2.Response, limit: int) -> tuple[bytearray, bool]:
    """The unpacked body up to `limit` bytes, and whether there is more."""
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            del body[limit:]
            return body, True
    return body, False


class _SecretHeaders(httpx2.Auth):
    """Puts the secrets into a request when it is sent; the client itself, its headers and its repr know none."""

    def __init__(self, secrets: Mapping[str, SecretStr]) -> None:
        self._secrets = dict(secrets)

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        for name, secret in self._secrets.items():
            request.headers[name] = secret.get_secret_value()
        yield request
