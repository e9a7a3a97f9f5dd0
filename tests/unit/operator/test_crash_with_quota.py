"""Whatever befalls the operator at any one call, no pod lives without its slot, and no slot is lost.

Stories of two runs of an organization that may have one at a time, told as in `test_crash_anywhere`: once for each call
to the API server, the records or the ledger, with one thing happening at that call.
"""

from collections.abc import Awaitable, Callable

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.observed import Published
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from support.stage import Befalls, Stage, dies, fails

GOOD = Outcome(status="succeeded", records_processed=42)
BAD = Outcome(status="failed", error="Extractor: no such table")
QUEUE = {"quotaPolicy": "Queue"}
Story = Callable[[Stage], Awaitable[None]]


async def first_works(stage: Stage) -> None:
    """The first run has the only slot, and its pod works; the second comes."""
    stage.first = stage.apply("first", **QUEUE)
    await stage.turn(stage.first)
    stage.start_pods()
    await stage.turn(stage.first)


async def second_comes(stage: Stage, **spec: object) -> None:
    stage.pass_time(1)
    stage.uid = stage.apply("second", **{**QUEUE, **spec})
    await stage.turn(stage.uid)


async def second_works(stage: Stage) -> None:
    """It gets the slot, of which time itself would tell where a process has died, and runs to its end."""
    for _ in range(3):
        stage.pass_time(31)
        await stage.heal()
        await stage.call_waiting_until_done()
        await stage.turn(stage.uid)
        stage.start_pods()
        stage.check_slots()
    stage.end_pods(GOOD)
    await stage.turn(stage.uid)


async def second_follows(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage)
    stage.end_pods(GOOD)
    await stage.turn(stage.first)
    await second_works(stage)


async def second_follows_a_failed_one(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage)
    stage.end_pods(BAD, exit_code=78, reason="Error")
    stage.fail_jobs("PodFailurePolicy")
    await stage.turn(stage.first)
    await second_works(stage)


async def second_follows_one_that_said_it_was_done(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage)
    pod = next(body["metadata"]["uid"] for key, body in stage.kubernetes.objects.items() if key[0] == "pods")
    stage.cache.put_published(stage.status("first").get("runId", ""), Published(pod, 42, 1.5, stage.now()))
    await stage.turn(stage.first)
    await stage.call_waiting_until_done()  # too soon: its pod lives
    stage.start_pods()
    stage.end_pods(GOOD, of=stage.job_of("first"))
    await stage.turn(stage.first)
    await second_works(stage)


async def second_follows_a_deleted_one(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage)
    stage.watch()
    stage.kubernetes.remove(names.RUNS, "default", "first")
    await stage.turn(stage.first)
    stage.collect_garbage()
    await stage.turn(stage.first)
    await stage.sweep()
    await stage.turn(stage.first)
    await second_works(stage)


async def second_is_refused(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage, quotaPolicy="Reject")
    stage.end_pods(GOOD)
    await stage.turn(stage.first)


async def second_is_cancelled(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage)
    stage.kubernetes.put(names.RUNS, {**stage.run("second"), "spec": {**stage.run("second")["spec"], "cancel": True}})
    await stage.turn(stage.uid)
    stage.end_pods(GOOD)
    await stage.turn(stage.first)


async def second_waits_too_long(stage: Stage) -> None:
    await first_works(stage)
    await second_comes(stage, queueTimeoutSeconds=60)
    stage.pass_time(60)
    await stage.turn(stage.uid)
    stage.end_pods(GOOD)
    await stage.turn(stage.first)


async def first_is_shown_before_its_job(stage: Stage) -> None:
    """Its process dies before the object says that it has its slot; to the next one it has waited for too long."""

    def no_status(method: str, path: str) -> None:
        if method == "PATCH":
            raise KubeUnavailableError("connection lost")

    stage.kubernetes.before = no_status
    stage.first = stage.apply("first", queueTimeoutSeconds=60, **QUEUE)
    await stage.turn(stage.first)
    stage.kubernetes.before = lambda _method, _path: None
    stage.start_pods()
    stage.start_operator()
    stage.shows_jobs = False
    stage.pass_time(60)
    stage.uid = stage.apply("second", priority=9, **QUEUE)
    for uid in (stage.first, stage.uid):
        await stage.turn(uid)
    stage.shows_jobs = True
    await stage.turn(stage.first)
    stage.start_pods()
    stage.end_pods(GOOD)
    await stage.turn(stage.first)
    await second_works(stage)


# How the first and the second end, and how many Jobs the second takes.
STORIES: dict[Story, tuple[Phase, Phase, int]] = {
    second_follows: (Phase.COMPLETED, Phase.COMPLETED, 1),
    second_follows_a_failed_one: (Phase.FAILED, Phase.COMPLETED, 1),
    second_follows_one_that_said_it_was_done: (Phase.COMPLETED, Phase.COMPLETED, 1),
    second_follows_a_deleted_one: (Phase.CANCELLED, Phase.COMPLETED, 1),
    second_is_refused: (Phase.COMPLETED, Phase.FAILED, 0),
    second_is_cancelled: (Phase.COMPLETED, Phase.CANCELLED, 0),
    second_waits_too_long: (Phase.COMPLETED, Phase.FAILED, 0),
    first_is_shown_before_its_job: (Phase.COMPLETED, Phase.COMPLETED, 1),
}


async def told(story: Story, befalls: Befalls | None = None, nth: int = 0, *, after: bool = False) -> Stage:
    """The story with what befalls at its nth call, and what time brings after it."""
    stage = Stage()
    stage.allow(1)
    stage.befalls = stage.other_takes_a_pass if befalls is Stage.other_takes_a_pass else befalls
    stage.nth, stage.after = nth, after
    await story(stage)
    await stage.come_to_rest()
    return stage


def check(stage: Stage, story: Story) -> None:
    first, second, jobs = STORIES[story]
    for uid, phase in ((stage.first, first), (stage.uid, second)):
        record = stage.record(uid)
        undecided = story is second_follows_a_deleted_one and record.undecided_since is not None
        assert record.phase is phase or undecided
    assert (stage.made("first"), stage.made("second")) == (1, jobs)
    stage.check_ledger()
    assert stage.holders() == []
    assert stage.ledger.usage("acme").day_used == 1 + jobs


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("befalls", [dies, fails, Stage.other_takes_a_pass], ids=lambda befalls: befalls.__name__)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nothing_that_befalls_at_any_call_loses_a_slot_or_gives_one_twice(
    story: Story, befalls: Befalls, after: bool
) -> None:
    undisturbed = await told(story)
    check(undisturbed, story)
    for nth in range(1, undisturbed.calls + 1):
        stage = await told(story, befalls, nth, after=after)
        try:
            check(stage, story)
        except AssertionError as error:
            raise AssertionError(f"at call {nth} of {undisturbed.calls}") from error
