"""What every long-running process tells of itself, beside what the Prometheus client tells by itself."""

import math
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from pipeline_core import __version__

# Version 2 of control groups; a container sees its own group there.
_MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")


def register(component: str, registry: CollectorRegistry = REGISTRY, memory_max: Path = _MEMORY_MAX) -> None:
    """Add the process's metrics to `registry`, once for each."""
    info = Gauge("pipelines_build_info", "1, with the version as a label.", ["component", "version"], registry=registry)
    info.labels(component, __version__).set(1)
    limit = Gauge(
        "pipelines_memory_limit_bytes", "The container's memory limit; +Inf where there is none.", registry=registry
    )
    limit.set(_limit(memory_max))


def _limit(path: Path) -> float:
    try:
        return float(path.read_text())  # a number, or "max"
    except (OSError, ValueError):
        return math.inf
