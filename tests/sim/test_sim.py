"""The operator in a hostile world: whatever dies on the way, each run ends in the right phase, once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim.__main__ import report
from sim.simulation import simulate

ROOT = Path(__file__).parents[2]
SMOKE = 100
ALL = 2000
# A planted bug's patch, and the property that it breaks.
PLANTED = {
    "finishes_from_stale_memory": "the right phase",
    "adopts_a_strangers_job": "every run ends",
    "cancelled_before_the_pods_are_gone": "the right phase",
    "frees_the_slot_of_a_pod_that_lives": "no pod lives without its slot",
    "heals_by_age_alone": "no pod lives without its slot",
}


def _hold(seeds: range) -> None:
    for seed in seeds:
        verdict = simulate(seed)
        assert not verdict.violations, report(verdict)


@pytest.mark.parametrize("first", range(0, SMOKE, 10))
def test_every_property_holds(first: int) -> None:
    _hold(range(first, first + 10))


@pytest.mark.full
@pytest.mark.parametrize("first", range(SMOKE, ALL, 100))
def test_every_property_holds_for_many_seeds(first: int) -> None:
    _hold(range(first, first + 100))


def _start(*arguments: str, sources: Path = ROOT, hash_seed: str = "0") -> "subprocess.Popen[str]":
    path = os.pathsep.join(str(sources / part) for part in ("core", "operator")) + os.pathsep + str(ROOT / "tests")
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "sim", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_seed_replays_exactly_in_any_process() -> None:
    runs = [_start("--seeds=6", "--first=10", "--digest", "--keep-going", hash_seed=seed) for seed in ("1", "2")]
    first, second = (run.communicate(timeout=120)[0].splitlines() for run in runs)
    here = [f"{seed} {simulate(seed).trace.digest()}" for seed in range(10, 16)]
    assert [line for line in first if line in here] == here
    assert [line for line in second if line in here] == here


@pytest.fixture(scope="module")
def with_planted_bugs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """The exit code and the words of the smoke over sources with each of the bugs in them, found side by side."""
    runs = {}
    for name in PLANTED:
        sources = tmp_path_factory.mktemp(name)
        for part in ("core", "operator"):
            shutil.copytree(ROOT / part, sources / part, ignore=shutil.ignore_patterns("__pycache__"))
        patch = Path(__file__).parent / "planted" / f"{name}.patch"
        subprocess.run(["git", "apply", "-C1", patch], cwd=sources, check=True)
        runs[name] = _start(f"--seeds={SMOKE}", sources=sources)
    outputs = {name: run.communicate(timeout=300)[0] for name, run in runs.items()}
    return {name: (run.returncode, outputs[name]) for name, run in runs.items()}


@pytest.mark.parametrize(("name", "prop"), PLANTED.items())
def test_a_planted_bug_is_found(with_planted_bugs: dict[str, tuple[int, str]], name: str, prop: str) -> None:
    code, words = with_planted_bugs[name]
    assert code == 1, words
    assert f"  {prop}: " in words
    assert "replay with: make sim SEED=" in words
