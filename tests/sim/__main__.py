"""Simulate seeds: `make sim SEED=7` (with its trace), `make sim SEEDS=500`."""

import argparse
import sys
import time

from sim.simulation import Verdict, simulate


def _say(line: object) -> None:
    print(line, flush=True)  # noqa: T201 - a command


def main() -> int:
    """Returns 1 where a property was violated."""
    parser = argparse.ArgumentParser(prog="sim", description="Simulate the world around the operator.")
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep-going", action="store_true", help="don't stop at the first violation")
    parser.add_argument("--digest", action="store_true", help="print the digest of each seed's trace")
    options = parser.parse_args()
    if options.seed is not None:
        verdict = simulate(options.seed)
        _say("\n".join(map(str, verdict.trace.lines)))
        _say(report(verdict, story=False))
        return bool(verdict.violations)
    failed, began, seconds = 0, time.monotonic(), 0.0
    for seed in range(options.first, options.first + options.seeds):
        verdict = simulate(seed)
        seconds += verdict.seconds
        if options.digest:
            _say(f"{seed} {verdict.trace.digest()}")
        if verdict.violations:
            failed += 1
            _say(report(verdict, story=not options.keep_going))
            if not options.keep_going:
                return 1
    took = time.monotonic() - began
    _say(f"{options.seeds} seeds, {failed} failed; {seconds / 3600:.1f} hours of the world in {took:.1f} s")
    return bool(failed)


def report(verdict: Verdict, *, story: bool = True) -> str:
    """The violations, the line that replays them, and the story of the first run concerned."""
    if not verdict.violations:
        return f"seed {verdict.seed}: every property holds"
    lines = [f"seed {verdict.seed} violates:", *(f"  {violation}" for violation in verdict.violations)]
    lines.append(f"replay with: make sim SEED={verdict.seed}")
    if story:
        lines += verdict.trace.of_run(verdict.violations[0].run)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
