"""GET /validator/pipelines: which pipelines there are. No key is asked for."""

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from pipeline_bridge.models.catalog import PipelineList, list_pipelines
from pipeline_bridge.parts import Parts, needs_parts
from pipeline_bridge.problems import responses
from pipeline_bridge.refused_fields import refuse_unknown_query
from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.errors import UnknownProviderError

router = APIRouter(tags=["discovery"], dependencies=[Depends(refuse_unknown_query)])

_SHOWN = 64
_JSON = "application/json"
_ETAG = {"ETag": {"description": "Names this list; changes with it.", "schema": {"type": "string"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"headers": _ETAG},
    304: {"description": "The list is the one that `If-None-Match` names.", "headers": _ETAG},
}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, ready to be sent."""

    body: bytes
    etag: str


class Pages:
    """The answers for a catalog, made once: by provider, and under None for all."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._pages: dict[str | None, Page] = {}

    def get(self, catalog: Catalog, provider: str | None) -> Page:
        """The pipelines of the provider, or all. Raises UnknownProviderError."""
        if self._catalog is not catalog:
            self._catalog, self._pages = catalog, _pages(catalog)
        page = self._pages.get(provider)
        if page is None:
            raise UnknownProviderError(str(provider)[:_SHOWN])
        return page


def _pages(catalog: Catalog) -> dict[str | None, Page]:
    pages: dict[str | None, Page] = {None: _page(list_pipelines(catalog.pipelines))}
    for key in catalog.providers:
        pages[key] = _page(list_pipelines(config for config in catalog.pipelines if config.provider == key))
    return pages


def _page(shown: PipelineList) -> Page:
    body = shown.model_dump_json(exclude_none=True).encode()
    return Page(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


_shared = Pages()


@router.get(
    "/validator/pipelines",
    summary="List all pipelines",
    description="The pipelines that runs and schedules can name, and their parameters. Needs no key. Send the `ETag` "
    "of an answer as `If-None-Match` to be told in a few bytes that nothing has changed.",
    response_model=PipelineList,
    responses={**_ANSWERS, **responses(422, 503, reasons=("RequestInvalid", "CatalogUnusable"))},
)
async def all_pipelines(request: Request, use: Annotated[Parts, Depends(needs_parts)]) -> Response:
    """All pipelines of the catalog."""
    return _answer(request, _shared.get(use.catalog.current(), None))


@router.get(
    "/validator/pipelines/{provider}",
    summary="List the pipelines of a provider",
    description="As `GET /validator/pipelines`, of one provider: none, where no pipeline of it is there yet.",
    response_model=PipelineList,
    responses={
        **_ANSWERS,
        **responses(404, 422, 503, reasons=("UnknownProvider", "RequestInvalid", "CatalogUnusable")),
    },
)
async def pipelines_of_provider(
    provider: Annotated[str, Path(description="The provider's key.", examples=["gcp"])],
    request: Request,
    use: Annotated[Parts, Depends(needs_parts)],
) -> Response:
    """The provider's pipelines."""
    return _answer(request, _shared.get(use.catalog.current(), provider))


def _answer(request: Request, page: Page) -> Response:
    # May be kept, and is to be asked about each time: a catalog changes with a rollout, seldom and at once.
    headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
    if _matches(request.headers.getlist("if-none-match"), page.etag):
        return Response(status_code=304, headers=headers)
    return Response(page.body, media_type=_JSON, headers=headers)


def _matches(given: list[str], etag: str) -> bool:
    """Whether one of the tags is this one, compared weakly (RFC 9110, 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for line in given for tag in line.split(",")}
    return "*" in tags or etag in tags
