"""What every long-running process tells of itself."""

import math
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline_core import __version__, process_metrics


@pytest.mark.parametrize(("text", "limit"), [("402653184\n", 402653184), ("max\n", math.inf), (None, math.inf)])
def test_the_memory_limit_is_the_containers(tmp_path: Path, text: str | None, limit: float) -> None:
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    registry = CollectorRegistry()
    process_metrics.register("operator", registry, memory_max=path)
    assert registry.get_sample_value("pipelines_memory_limit_bytes") == limit


def test_the_version_is_a_label() -> None:
    registry = CollectorRegistry()
    process_metrics.register("bridge", registry)
    labels = {"component": "bridge", "version": __version__}
    assert registry.get_sample_value("pipelines_build_info", labels) == 1
