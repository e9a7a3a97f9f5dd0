"""What can't be done for now holds up nothing else: ticks, status and history go on, and it is told what is refused."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules import decide as deciding
from pipeline_core.schedules.decision import Decision, Needs
from pipeline_core.schedules.ids import backfill_run_id
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.schedules import deciding as shell
from support.operator_world import T0
from support.schedule_operator import NAMESPACE, ScheduleOperator

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
FOUR, FIVE = "nightly-20261122t0400z", "nightly-20261122t0500z"
BACKFILL = {"id": "b", "from": "2026-11-20T00:00:00Z", "to": "2026-11-20T02:00:00Z"}
FULL = 'pipelineruns.pipelines.dev "x" is forbidden: exceeded quota: runs, used: 50, limited: 50'


@pytest.fixture
def world() -> ScheduleOperator:
    return ScheduleOperator()


def refuse(world: ScheduleOperator, refuses: Callable[[str, dict[str, Any]], bool], message: str = FULL) -> None:
    """Have the API server answer 403 to what `refuses` says, of a method and path and the body."""
    request = FakeRequest(world.kubernetes.request, refuses, message)
    world.kubernetes.request = request  # type: ignore[method-assign,assignment]


class FakeRequest:
    def __init__(self, inner: Any, refuses: Callable[[str, dict[str, Any]], bool], message: str) -> None:
        self._inner, self._refuses, self._message = inner, refuses, message
        self.refused = 0

    async def __call__(self, method: str, path: str, **named: Any) -> Any:
        if self._refuses(f"{method} {path}", named.get("body") or {}):
            self.refused += 1
            raise KubeError(403, "Forbidden", self._message)
        return await self._inner(method, path, **named)


def makes_backfill(call: str, body: dict[str, Any]) -> bool:
    return call.startswith("POST") and names.LABEL_BACKFILL in body["metadata"].get("labels", {})


async def test_a_backfill_that_is_refused_delays_no_tick_and_says_why(world: ScheduleOperator) -> None:
    world.schedule(concurrencyPolicy="Allow", backfill=BACKFILL)
    refuse(world, makes_backfill)
    world.show()
    await world.turn()
    assert world.of()["backfill"]["state"] == "Waiting"
    assert world.of()["backfill"]["message"] == FULL
    await world.until(T0 + HOUR - SECOND, timedelta(seconds=7))
    events = [message for reason, message in world.told() if reason == "RefusedForNow"]
    assert len(events) == 1
    assert FULL in events[0]
    world.pass_time(1)
    await world.turn()
    assert list(world.runs()) == [FOUR]
    assert world.of()["handledUntil"] == "2026-11-22T04:00:00Z"
    assert world.of()["active"] == 1
    # About once a minute, and no more; told once an hour.
    assert 50 <= world.kubernetes.request.refused <= 150  # type: ignore[attr-defined]
    await world.until(T0 + HOUR + 5 * MINUTE)
    assert len([reason for reason, _ in world.told() if reason == "RefusedForNow"]) == 2
    world.kubernetes.request = world.kubernetes.request._inner  # type: ignore[attr-defined,method-assign]
    await world.until(T0 + HOUR + 8 * MINUTE)
    assert len(world.runs()) == 2
    assert world.of()["backfill"]["state"] == "Running"


async def test_a_history_that_is_shortened_makes_room_for_the_run_that_is_refused(world: ScheduleOperator) -> None:
    world.schedule()
    for hour, name in ((1, FOUR), (2, FIVE)):
        await world.until(T0 + hour * HOUR)
        world.end(name)
        await world.turn()

    refuse(world, lambda call, _: call.startswith("POST") and call.endswith("runs") and len(world.runs()) > 1)
    await world.until(T0 + 3 * HOUR)
    assert sorted(world.runs()) == [FOUR, FIVE]
    # Its tick isn't seen to yet: the status tells of all before it.
    assert world.of()["handledUntil"] == "2026-11-22T05:59:59Z"
    assert (world.of()["active"], world.of()["missed"], world.of()["lastRunAt"]) == (0, 0, "2026-11-22T05:00:00Z")
    assert [reason for reason, _ in world.told()] == ["RefusedForNow"]
    world.edit(successfulRunsHistoryLimit=1)
    await world.until(T0 + 3 * HOUR + 2 * MINUTE, timedelta(seconds=20))
    assert sorted(world.runs()) == [FIVE, "nightly-20261122t0600z"]
    assert (world.of()["handledUntil"], world.of()["active"]) == ("2026-11-22T06:00:00Z", 1)
    assert world.of()["missed"] == 0


async def test_a_cancel_that_is_refused_is_tried_again_and_the_status_is_written(world: ScheduleOperator) -> None:
    world.schedule(concurrencyPolicy="Replace")
    await world.until(T0 + HOUR)
    refuse(world, lambda call, _: call.startswith("PATCH") and call.endswith(FOUR))
    await world.until(T0 + 2 * HOUR)
    assert (world.of()["active"], world.of()["nextRunAt"]) == (2, "2026-11-22T06:00:00Z")
    assert world.of()["handledUntil"] == "2026-11-22T04:59:59Z"
    assert [reason for reason, _ in world.told()] == ["RefusedForNow"]
    # A new process finds what is left to be done.
    world.start_operator()
    world.kubernetes.request = world.kubernetes.request._inner  # type: ignore[attr-defined,method-assign]
    world.pass_time(31)
    await world.turn()
    assert world.runs()[FOUR]["spec"]["cancel"] is True
    assert world.of()["handledUntil"] == "2026-11-22T05:00:00Z"
    assert sorted(world.runs()) == [FOUR, FIVE]


async def test_a_trigger_that_is_refused_is_pulled_later_and_ticks_go_on(world: ScheduleOperator) -> None:
    world.schedule(concurrencyPolicy="Allow")
    await world.turn()
    refuse(world, lambda call, body: call.startswith("POST") and "-now-" in body["metadata"]["name"])
    world.edit(annotations={names.ANNOTATION_TRIGGER: "monday"})
    await world.until(T0 + HOUR)
    assert list(world.runs()) == [FOUR]
    assert "handledTrigger" not in world.of()
    assert (world.of()["active"], world.of()["handledUntil"]) == (1, "2026-11-22T04:00:00Z")
    world.kubernetes.request = world.kubernetes.request._inner  # type: ignore[attr-defined,method-assign]
    await world.until(T0 + HOUR + 2 * MINUTE)
    assert len(world.runs()) == 2
    assert world.of()["handledTrigger"] == "monday"


async def test_a_tick_that_comes_due_while_a_pass_fails_has_its_run_at_once(world: ScheduleOperator) -> None:
    world.schedule(concurrencyPolicy="Allow", backfill=BACKFILL)
    slow = [False]

    def refuses(call: str, body: dict[str, Any]) -> bool:
        if not makes_backfill(call, body):
            return False
        if slow[0]:
            slow[0] = False
            world.pass_time(2)
            world.parts.ticker.tick()
        return True

    refuse(world, refuses)
    await world.until(T0 + HOUR - SECOND, timedelta(seconds=13))
    slow[0] = True
    world.parts.wake(world.object()["metadata"]["uid"])
    await world.turn()
    assert list(world.runs()) == [FOUR]


async def test_one_that_is_named_like_a_denial_is_waited_for(world: ScheduleOperator) -> None:
    world.schedule("denied")
    await world.turn()
    name = "denied-20261122t0400z"
    refuse(world, lambda call, _: call.endswith("/pipelineruns"), f'pipelineruns "{name}" is forbidden: exceeded quota')
    await world.until(T0 + HOUR + MINUTE)
    assert world.of("denied")["missed"] == 0
    world.kubernetes.request = world.kubernetes.request._inner  # type: ignore[attr-defined,method-assign]
    await world.until(T0 + HOUR + 2 * MINUTE)
    assert list(world.runs()) == [name]


async def test_without_postgresql_a_backfill_waits_and_ticks_do_not(world: ScheduleOperator) -> None:
    world.schedule(concurrencyPolicy="Allow", backfill=BACKFILL)
    await world.turn()
    (first,) = world.runs()

    def away(_method: str) -> None:
        raise StoreUnavailableError("connection refused")

    world.records.fault = away
    await world.until(T0 + HOUR)
    assert FOUR in world.runs()
    assert world.of()["handledUntil"] == "2026-11-22T04:00:00Z"
    world.records.fault = lambda _method: None
    world.end(first)
    await world.until(T0 + HOUR + MINUTE)
    assert len(world.runs()) == 3


async def test_of_a_database_that_hangs_one_tick_waits(world: ScheduleOperator) -> None:
    asked: list[str] = []

    class Away:
        async def get(self, org: str, _provider: str) -> None:
            asked.append(org)
            raise TimeoutError

    for name in ("one", "two", "three"):
        world.schedule(name)
    await world.turn()
    world.parts.lookup._facts = Away()  # type: ignore[assignment]
    await world.until(T0 + HOUR)
    assert (len(world.runs()), asked) == (3, ["acme"])
    await world.until(T0 + 2 * HOUR)
    assert asked == ["acme", "acme"]


async def test_what_takes_many_looks_is_gone_on_with_in_another_pass(
    world: ScheduleOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = world.schedule()
    run_ids = [backfill_run_id(uid, "b", T0 + number * MINUTE) for number in range(40)]
    looks: list[int] = []

    async def ended(_records: Any, run_id: str, _org: str) -> Any:
        looks.append(run_ids.index(run_id))
        return SimpleNamespace(phase=Phase.COMPLETED)

    monkeypatch.setattr(type(world.records), "status", ended)

    def decide(schedule: Any, runs: Any, now: Any, known: Any) -> Decision:
        unknown = [run_id for run_id in run_ids if run_id not in known.outcomes]
        if unknown:
            return Decision(schedule.status, needs=Needs(outcomes=(unknown[0],)))
        return deciding.decide(schedule, runs, now, known)

    monkeypatch.setattr(shell, "decide", decide)
    world.show()
    for _ in range(3):
        await world.turn()
        world.pass_time(1)
    assert looks == list(range(40))  # each once
    assert world.of()["nextRunAt"] == "2026-11-22T04:00:00Z"


async def test_what_asks_for_what_is_known_is_a_defect_and_the_next_tick_is_awaited(
    world: ScheduleOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = world.schedule()
    needs = Needs(organization=True)
    monkeypatch.setattr(shell, "decide", lambda schedule, *_: Decision(schedule.status, needs=needs))
    world.show()
    with pytest.raises(RuntimeError, match="decides nothing about default/nightly"):
        await world.parts.reconciler.reconcile(uid)
    assert world.parts.ticker._at == {uid: T0 + HOUR}


async def test_a_crd_that_leaves_fields_out_is_told_once(world: ScheduleOperator) -> None:
    put = world.kubernetes.put

    def pruned(plural: str, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("status"):
            body = {**body, "status": {key: body["status"][key] for key in body["status"] if key != "handledUntil"}}
        return put(plural, body)

    world.kubernetes.put = pruned  # type: ignore[method-assign]
    world.schedule()
    world.schedule("other")
    with capture_logs() as logs:
        await world.turn()
    (error,) = [line for line in logs if line["log_level"] == "error"]
    assert error["left_out"] == ["handledUntil"]
    assert "apply crds/pipelineschedules.yaml" in error["event"]


async def test_a_status_waits_for_other_ticks_but_not_for_ever(world: ScheduleOperator) -> None:
    uid = world.schedule()
    world.show()
    world.parts.ticks_first.presses = lambda: True  # type: ignore[method-assign]
    world.parts.reconciler._presses = lambda: True
    assert await world.parts.reconciler.reconcile(uid) == 0.0
    assert world.of() == {}
    world.pass_time(2)
    assert await world.parts.reconciler.reconcile(uid) is None
    assert world.of()["nextRunAt"] == "2026-11-22T04:00:00Z"
    assert world.object()["metadata"]["namespace"] == NAMESPACE
