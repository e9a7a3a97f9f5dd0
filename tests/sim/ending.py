"""What must be so when the faults have long stopped: every run has ended, and nothing is held by the dead."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import phase_of
from pipeline_operator.parsing import parse_run
from sim.api_server import has_ended
from sim.operators import RESYNC, Instance
from sim.truth import RunTruth, run_uid_of
from sim.virtual_time import BEGINNING

if TYPE_CHECKING:
    from sim.world import World

TWO_ROUNDS = 2 * 1.2 * RESYNC + 30
# From the end of a run (or of the faults) to the end of its Job, which the operator or the runner itself brings about.
_OUTLIVES = 60.0
# Of a run without faults, Events apart.
_WRITES_MAX = 5
_RECONCILES_MAX = 10
_SHORT = 10.0
# From the end of a run's last pod to the end of its slot: a round of healing, by an operator that may just have begun.
_OUTLIVES_SLOT = 120.0
# Runs that were called at once may come in any order.
_TOGETHER = 2.0
# From a run's expiry to the end of its object.
_EXPIRY_SLACK = timedelta(seconds=30)


def unsettled(world: "World") -> list[tuple[str, str, str]]:
    """(property, run, words) of whatever goes on; empty once everything has come to rest."""
    return [*_unended(world), *_held(world)]


def look(world: "World", healed_at: float) -> None:
    """Note what must not be even for a while: a Job or a slot that outlives its run, until something else ends it."""
    now = world.loop.time()
    _look_at_slots(world, now)
    for body in world.server.of("jobs"):
        uid, name = run_uid_of(body), body["metadata"]["name"]
        over = world.oracle.over.get(uid)
        if over is None or now < max(over, healed_at) + _OUTLIVES or has_ended("jobs", body):
            continue
        if world.server.find(names.RUNS, uid) is not None and uid not in world.oracle.outlived:
            world.oracle.outlived.add(uid)
            world.oracle.violated("no Job outlives its run", uid, f"job {name} lives {now - over:.0f}s after its end")


def _look_at_slots(world: "World", now: float) -> None:
    """A slot whose run is over, with no pod and no Job that goes on, is given back, at the latest by healing."""
    for run_id, row in world.ledger.rows.items():
        run = world.truth.runs.get(world.truth.uid_of_record(run_id))
        if not row.held or run is None or _goes_on(world, run):
            world.idle_slots.pop(run_id, None)
        elif now > world.idle_slots.setdefault(run_id, now) + _OUTLIVES_SLOT:
            world.oracle.violated("no slot outlives its run", run.uid, f"{run_id} holds a slot")
            world.idle_slots[run_id] = float("inf")  # said once


def _goes_on(world: "World", run: RunTruth) -> bool:
    pods = any(pod.ended is None and pod.gone is None for pod in run.pods.values())
    jobs = any(job.gone is None and not (job.complete or job.failed) for job in run.jobs.values())
    return pods or jobs or (run.uid not in world.oracle.over and world.server.find(names.RUNS, run.uid) is not None)


def check(world: "World") -> None:
    """Note every property that doesn't hold now."""
    for prop, run, words in unsettled(world):
        world.oracle.violated(prop, run, words)
    for body in world.server.of(names.RUNS):
        world.oracle.status_agrees(body["metadata"]["uid"], body["status"])
        expires_at = parse_run(body).expires_at
        if expires_at is not None and expires_at + _EXPIRY_SLACK < world.loop.now():
            world.oracle.violated("what has expired goes", body["metadata"]["uid"], body["metadata"]["name"])
    for instance in world.operators.instances:
        _check_operator(world, instance)
    if world.dials.calm:
        _check_costs(world)
        _check_turns(world)


def _unended(world: "World") -> list[tuple[str, str, str]]:
    found = []
    for body in world.server.of(names.RUNS):
        phase = body["status"].get("phase")
        if phase is None or not Phase(phase).is_final:
            found.append(("every run ends", body["metadata"]["uid"], f"{body['metadata']['name']} is {phase}"))
    rows = [row for row in world.rows.values() if not phase_of(row["status"]).is_final]
    return found + [("every run ends", row["object_uid"], f"record {row['run_id']} is {row['status']}") for row in rows]


def _held(world: "World") -> list[tuple[str, str, str]]:
    found = []
    for plural in ("jobs", "pods"):
        for body in world.server.of(plural):
            uid, name = run_uid_of(body), body["metadata"]["name"]
            if not uid:
                continue
            if not has_ended(plural, body):
                found.append(("nothing is held by the dead", uid, f"{plural[:-1]} {name} lives"))
    return found + [("nothing is held by the dead", uid, words) for uid, words in _slots_held(world)]


def _slots_held(world: "World") -> list[tuple[str, str]]:
    held = [run_id for run_id, row in world.ledger.rows.items() if row.held]
    return [(world.truth.uid_of_record(run_id), f"a slot by {run_id}") for run_id in held]


def _check_operator(world: "World", instance: Instance) -> None:
    operator, name = instance.operator, instance.process.name
    there = {body["metadata"]["uid"] for body in world.server.of(names.RUNS)}
    for uid in sorted(operator.cache._entries.keys() - there):
        world.oracle.violated("nothing is held by the dead", uid, f"{name} remembers it for ever")
    for uid in sorted(operator.queue._working):
        world.oracle.violated("no key is stuck", uid, f"in the queue of {name}")
    if operator.queue.oldest_age() > 1.0:
        world.oracle.violated("no key is stuck", "", f"{name}: one is due for {operator.queue.oldest_age():.0f}s")
    # A watch that has lost an event counts as blind until it shows something newer, or its process is restarted.
    if not world.dials.event_lost and (wrong := operator.health.healthy()):
        world.oracle.violated("the operator is healthy", "", f"{name}: {wrong}")


def _check_turns(world: "World") -> None:
    """Nobody gets a slot while one waits that had come first, or is more urgent; those called together in any order.

    Held to where nothing fails: a run whose turn it is and that can't reach the ledger lets others go first.
    """
    rows = {world.truth.uid_of_record(run_id): row for run_id, row in world.ledger.rows.items()}
    got = {uid: (row.reserved_at - BEGINNING).total_seconds() for uid, row in rows.items()}
    runs = [(parse_run(body), world.truth.runs[body["metadata"]["uid"]]) for body in world.server.of(names.RUNS)]
    for first, first_truth in runs:
        since = world.oracle.waiting.get(first.uid, float("inf"))
        until = got.get(first.uid, world.oracle.over.get(first.uid, world.loop.time()))
        for other, truth in runs:
            behind = truth.org == first_truth.org and _rank(first) < _rank(other)
            if behind and since + _TOGETHER < got.get(other.uid, 0.0) < until - _TOGETHER:
                world.oracle.violated("first come within priority", first.uid, f"{other.name} went first")


def _rank(run: Run) -> tuple[int, datetime, str]:
    return (-run.spec.priority, run.created_at, run.name)


def _check_costs(world: "World") -> None:
    """Of runs that went well at once, and were over before progress alone was worth a write."""
    for uid, run in world.truth.runs.items():
        (pod, *others) = [*run.pods.values(), None]
        if pod is None or len(others) > 1 or not pod.good or run.removed is not None:
            continue
        if (pod.ended or 0.0) - run.created > _SHORT:
            continue
        waited = uid in world.oracle.waiting  # that it waits is a write more, and that its turn has come a pass
        writes, writes_max = world.oracle.writes.get(uid, 0), _WRITES_MAX + waited
        if writes > writes_max:
            world.oracle.violated("a run costs few writes", uid, f"{writes} (at most {writes_max})")
        passes, passes_max = world.reconciles.get(uid, 0), _RECONCILES_MAX + 2 * waited
        if passes > passes_max:
            world.oracle.violated("a run costs few reconciles", uid, f"{passes} (at most {passes_max})")
