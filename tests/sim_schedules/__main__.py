"""Simulate seeds of schedules: `--seed 7` (with its trace), `--seeds 50`, `--schedules 1000 --days 30`."""

import argparse
import sys
import time

from sim_schedules.dials import dials_of
from sim_schedules.judge import Verdict as Tick
from sim_schedules.simulation import Verdict, simulate


def _say(line: object) -> None:
    print(line, flush=True)  # noqa: T201 - a command


def main() -> int:
    """Returns 1 where a property was violated."""
    parser = argparse.ArgumentParser(prog="sim_schedules", description="Simulate the world around schedules.")
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--schedules", type=int, default=40)
    parser.add_argument("--days", type=float, default=5.0)
    parser.add_argument("--of", help="with --seed: the trace of this schedule alone")
    parser.add_argument("--keep-going", action="store_true", help="don't stop at the first violation")
    parser.add_argument("--digest", action="store_true", help="print the digest of each seed's trace")
    options = parser.parse_args()
    size = {"schedules": options.schedules, "days": options.days}
    if options.seed is not None:
        verdict = simulate(options.seed, dials_of(options.seed, **size))
        lines = verdict.trace.of_run(options.of) if options.of else list(map(str, verdict.trace.lines))
        _say("\n".join(lines))
        _say(report(verdict, story=False))
        return bool(verdict.violations)
    failed, began = 0, time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        verdict = simulate(seed, dials_of(seed, **size), traced=options.schedules * options.days <= 2_000)
        _say(report(verdict, story=not options.keep_going))
        if options.digest:
            _say(f"{seed} {verdict.trace.digest()}")
        failed += bool(verdict.violations)
        if failed and not options.keep_going:
            return 1
    _say(f"{options.seeds} seeds, {failed} failed, in {time.monotonic() - began:.1f} s")
    return bool(failed)


def report(verdict: Verdict, *, story: bool = True) -> str:
    """What was judged; the violations, the line that replays them, and the story of the first schedule concerned."""
    ticks = verdict.ticks
    figures = (
        f"seed {verdict.seed}: {verdict.seconds / 86_400:.1f} days, {verdict.runs} runs; of the ticks"
        f" {ticks[Tick.MUST]} had to have one, {ticks[Tick.NEVER]} none, {ticks[Tick.MAY]} either;"
        f" {verdict.status_writes} status writes;"
        f" {verdict.took:.1f} s"
    )
    if not verdict.violations:
        return figures
    lines = [figures, "violates:", *(f"  {violation}" for violation in verdict.violations[:40])]
    lines.append(f"replay with: make sim-schedules SEED={verdict.seed}")
    if story:
        lines += verdict.trace.of_run(verdict.violations[0].schedule)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
