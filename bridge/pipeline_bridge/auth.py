"""Who asks: a key of one organization in `X-API-Key`, its scopes, and how often it may ask."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.security.base import SecurityBase

from pipeline_bridge.key_cache import KeyCache
from pipeline_bridge.key_uses import KeyUses
from pipeline_bridge.limiting import FAILURES_PER_MINUTE, RateLimit, client_of, rate_limited
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import refuse_unknown_query
from pipeline_core.api_keys import Scope, allows, digest, matches, parse_key
from pipeline_core.store.api_keys import ApiKey
from pipeline_core.wording import shorten

if TYPE_CHECKING:
    from pipeline_bridge.parts import Parts

HEADER = "X-API-Key"
SCHEME = "ApiKey"

_HEADER = HEADER.lower().encode()
_CHALLENGE = {"WWW-Authenticate": f'ApiKey realm="pipelines", header="{HEADER}"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose key asks, and for what it may ask."""

    key_id: str
    org: str
    scopes: frozenset[Scope]


class Gate:
    """Lets keys in; one for each process."""

    def __init__(self, parts: "Parts") -> None:
        self._settings = parts.settings
        self._pepper = parts.settings.api_key_pepper.get_secret_value().encode()
        # Compared with where there is no key, so that the time doesn't tell that there is none.
        self._nobody = digest(self._pepper, "")
        self._keys = KeyCache(parts.keys.get, parts.settings.key_cache_seconds)
        self._now = parts.now
        self._rate = RateLimit("key")
        self._failures = RateLimit("failed-authentication")
        self.uses = KeyUses(parts.keys)

    async def admit(self, request: Request, scope: Scope) -> Principal:
        """Who asks. Raises Problem: 401, 403, 429, see `require`; StoreUnavailableError."""
        state = request.scope["state"]
        key = await self._authenticate(request)
        state["key_id"], state["org"] = key.key_id, key.org_slug
        # First, so that what is refused below is limited as well.
        await self._limit(state, key)
        named = request.scope["path_params"].get("org", key.org_slug)
        if named != key.org_slug:
            raise Problem(403, "OtherOrganization", f"The key isn't one of organization {shorten(named)}")
        if not allows(key.scopes, scope):
            has = ", ".join(sorted(key.scopes)) or "none"
            raise Problem(403, "ScopeMissing", f"This needs a key with the scope {scope.value!r}; the key has: {has}")
        self.uses.note(key.key_id)
        return Principal(key.key_id, key.org_slug, key.scopes)

    async def _authenticate(self, request: Request) -> ApiKey:
        given = [value for name, value in request.scope["headers"] if name == _HEADER]
        parsed = parse_key(given[0].decode("latin-1")) if len(given) == 1 else None
        if parsed is None:
            raise await self._refusal(request)
        key_id, secret = parsed
        found = await self._keys.get(key_id)
        is_right = matches(self._pepper, secret, self._nobody if found is None else found.digest)
        if found is None or not is_right or not found.is_active(self._now()):
            raise await self._refusal(request)
        return found

    async def _refusal(self, request: Request) -> Problem:
        """One and the same for every way to fail; too many from one address are told so. Right keys still pass."""
        client = request.scope.get("client")
        verdict = await self._failures.take(client_of(client[0] if client else ""), FAILURES_PER_MINUTE)
        if not verdict.is_allowed:
            request.scope["state"]["answer_headers"] = verdict.headers
            return rate_limited(f"More than {FAILURES_PER_MINUTE} failed authentications a minute", verdict)
        return Problem(401, "NotAuthenticated", f"A valid key in the header {HEADER} is needed", headers=_CHALLENGE)

    async def _limit(self, state: dict[str, object], key: ApiKey) -> None:
        per_minute = key.requests_per_minute or self._settings.requests_per_minute
        verdict = await self._rate.take(key.key_id, per_minute)
        # The middleware adds them to whatever the answer will be.
        state["answer_headers"] = verdict.headers
        if not verdict.is_allowed:
            raise rate_limited(f"More than {per_minute} requests a minute with this key", verdict)


class RequiredScope(SecurityBase):
    """A dependency that is a security scheme of OpenAPI at the same time, so that a request solves one, not two."""

    scheme_name = SCHEME
    model = APIKey(
        **{"in": APIKeyIn.header},
        name=HEADER,
        description="A key of one organization, made by `pipelines keys create`. It opens what its scopes say: "
        "`run`, `read`, `schedule`, or `admin` for all of them.",
    )

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        gate: Gate = request.app.state.gate
        who = await gate.admit(request, self.scope)
        refuse_unknown_query(request)
        return who


def require(scope: Scope) -> RequiredScope:
    """A dependency of endpoints: who asks, with a key that has this scope.

    It raises Problem: 401 without a valid key, 403 where the path names another organization or the scope is missing,
    429 where the key asks too often, 422 for query parameters that the endpoint doesn't know.
    """
    return RequiredScope(scope)
