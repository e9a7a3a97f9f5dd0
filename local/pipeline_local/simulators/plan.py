"""What a simulator is told to do beside answering: latency, faults by chance or by script, days that change."""

import re
from datetime import date
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Kind = Literal[
    "429-retry-after-ms",
    "429-retry-after",
    "429-retry-after-date",
    "429-reset",
    "429-bare",
    "500",
    "503",
    "529",
    "dropped",
    "reset",
    "truncated",
    "slow",
    "short-page",
    "no-next-page",
    "same-page",
    "missing-bucket",
    "unknown-fields",
]
"""429 with each of the headers that say when to ask again, and without one; a broken server (503 with a page of HTML);
the connection closed before the answer, or reset in its middle; JSON that is cut off though its length is right; a page
of fewer buckets than asked for, without the cursor it promises, with the cursor it was asked with, or without a bucket;
results with fields that nobody has documented.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
HARMLESS: frozenset[Kind] = frozenset({"slow", "short-page", "unknown-fields"})
"""What a client has to live with; after the others it has to ask again, or to give up."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scripted(_Model):
    """A fault of the requests whose `PROVIDER PATH?QUERY` matches, such as `openai /v1/organization/costs`."""

    path: str
    """A regular expression, searched for."""
    kind: Kind | None = None
    status: int | None = Field(default=None, ge=400, le=599)
    """An answer of this status with `body` and `headers`, in place of a kind."""
    body: Any = None
    headers: dict[str, str] = {}
    after: int = Field(default=0, ge=0)
    """How many matching requests are left in peace first."""
    times: int | None = Field(default=1, ge=1)
    """How many are met then; None: all."""

    @field_validator("path")
    @classmethod
    def _is_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:  # noqa: N804 - after validation it is the instance that is checked
        if (self.kind is None) == (self.status is None):
            raise ValueError("expected either kind or status")
        return self


class Plan(_Model):
    """The whole plan: another one replaces it, and an empty one is plain good service."""

    seed: int = 0
    """Of the faults that come by chance; the data has a seed of its own."""
    faults: dict[Kind, float] = {}
    """The share of requests, from 0 to 1, that meets each kind. The same request asked again has another chance."""
    in_a_row: int = Field(default=2, ge=1)
    """How often at most one request fails by chance before it is answered."""
    script: tuple[Scripted, ...] = ()
    latency_ms: int = Field(default=0, ge=0, le=60_000)
    slow_ms: int = Field(default=300, ge=0, le=600_000)
    """What the kind `slow` adds."""
    wait_ms: int = Field(default=50, ge=0, le=3_600_000)
    """When a 429 says to ask again; whole seconds, rounded up, where its header has no fractions."""
    scale: int = Field(default=1, ge=1, le=1000)
    """How many times as many workloads an organization has."""
    amounts: Literal["mixed", "strings", "numbers"] | None = None
    """How amounts are written. None: mixed at OpenAI, and strings at Anthropic."""
    late: dict[date, int] = {}
    """Days whose last so many hours haven't been counted yet."""
    empty_days: frozenset[date] = frozenset()

    @field_validator("faults")
    @classmethod
    def _are_shares(cls, value: dict[Kind, float]) -> dict[Kind, float]:
        if any(share < 0 for share in value.values()) or sum(value.values()) > 1:
            raise ValueError("expected shares that are not negative and sum to 1 at most")
        return value
