"""What a simulated service answers, and the request it is asked by, apart from any server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline_local.simulators.plan import Kind, Plan
from pipeline_local.simulators.query import Pairs
from pipeline_local.simulators.world import World


@dataclass(frozen=True)
class Request:
    """A GET request: header names in lower case, the path below the provider's base URL."""

    path: str
    pairs: Pairs
    headers: Mapping[str, str] = field(repr=False)
    world: World
    plan: Plan
    now: datetime
    fault: Kind | None = None


@dataclass(frozen=True)
class Answer:
    """Status and JSON document (or text), and headers beside its type and length."""

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)
