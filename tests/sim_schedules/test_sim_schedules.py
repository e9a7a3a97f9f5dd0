"""Schedules for days and months: whatever breaks on the way, each tick has its run, once, or is told to be missed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sim_schedules.__main__ import report
from sim_schedules.dials import dials_of
from sim_schedules.judge import Verdict as Tick
from sim_schedules.simulation import simulate

ROOT = Path(__file__).parents[2]
# A calm seed and a hostile one.
SMOKE = (0, 1)
# A planted bug's patch: a seed that finds it, how many schedules and days that takes, and the property that it breaks.
PLANTED = {
    "fires_for_the_past_of_an_edit": (0, 8, 2, "no run without a tick"),
    "takes_its_own_run_for_a_strangers": (14, 8, 2, "every tick is made or missed"),
    "forbids_for_runs_of_any_cause": (1, 8, 3, "every tick has its run"),
    "asks_for_no_outcomes": (1, 8, 2, "one run a tick"),
    "ticks_by_a_steady_clock": (119, 4, 5, "every tick has its run"),
    "catches_up_the_newest_first": (3, 8, 3, "caught up in order"),
    "forgets_what_it_left_out": (0, 8, 3, "every tick is made or missed"),
    "backfills_one_too_many": (0, 8, 2, "backfills a few at a time"),
    "fires_late_in_a_gap": (0, 8, 2, "every tick is made or missed"),
    "takes_the_word_of_a_run_for_it": (3, 30, 3, "every tick has its run"),
}


def _holds(seed: int, schedules: int, days: float) -> None:
    dials = dials_of(seed, schedules=schedules, days=days)
    verdict = simulate(seed, dials, traced=schedules * days <= 500)
    assert not verdict.violations, report(verdict)
    assert verdict.ticks[Tick.MUST] > verdict.ticks[Tick.MAY] or not dials.calm
    if dials.calm:
        assert verdict.ticks[Tick.MAY] == 0, "the set of runs is known exactly"


@pytest.mark.parametrize("seed", SMOKE)
def test_the_runs_are_those_that_there_had_to_be(seed: int) -> None:
    _holds(seed, 40, 5)


@pytest.mark.full
@pytest.mark.parametrize("seed", sorted({*range(60)} - {*SMOKE}))
def test_the_runs_are_those_that_there_had_to_be_for_many_seeds(seed: int) -> None:
    _holds(seed, 40, 5)


@pytest.mark.full
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_schedules_for_thirty_days(seed: int) -> None:
    """Two hundred at a time: calm ones and hostile ones."""
    _holds(seed, 200, 30)


def _start(*arguments: str, sources: Path = ROOT, hash_seed: str = "0") -> "subprocess.Popen[str]":
    path = os.pathsep.join(str(sources / part) for part in ("core", "operator")) + os.pathsep + str(ROOT / "tests")
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-m", "sim_schedules", *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_a_seed_replays_exactly_in_any_process() -> None:
    size = ("--first=4", "--seeds=1", "--schedules=12", "--days=1", "--digest")
    first, second = (_start(*size, hash_seed=seed).communicate(timeout=60)[0].splitlines() for seed in ("1", "2"))
    digest = f"4 {simulate(4, dials_of(4, schedules=12, days=1.0)).trace.digest()}"
    assert digest in first
    assert digest in second


@pytest.fixture(scope="module")
def with_planted_bugs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """The exit code and the words of a seed over sources with each of the bugs in them, found side by side."""
    runs = {}
    for name, (seed, schedules, days, _) in PLANTED.items():
        sources = tmp_path_factory.mktemp(name)
        for part in ("core", "operator"):
            shutil.copytree(ROOT / part, sources / part)  # compiled, too: what is patched is newer
        patch = Path(__file__).parent / "planted" / f"{name}.patch"
        subprocess.run(["git", "apply", "-C1", patch], cwd=sources, check=True)
        size = (f"--first={seed}", "--seeds=1", f"--schedules={schedules}", f"--days={days}")
        runs[name] = _start(*size, "--keep-going", sources=sources)
    outputs = {name: run.communicate(timeout=300)[0] for name, run in runs.items()}
    return {name: (run.returncode, outputs[name]) for name, run in runs.items()}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(with_planted_bugs: dict[str, tuple[int, str]], name: str) -> None:
    code, words = with_planted_bugs[name]
    assert code == 1, words
    assert f"  {PLANTED[name][3]}: " in words, words
