"""Whatever befalls the operator at any one call of a run's life, the run ends as it would have: one Job, one record.

Every story below is told once for each call that it makes to the API server or to the records, with one thing happening
at that call: the process dies, the call fails, or a second operator takes a whole pass; before the call or, so that its
answer is lost, after it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from support.stage import Befalls, Stage, dies, fails

GOOD = Outcome(status="succeeded", records_processed=42)
BAD = Outcome(status="failed", error="Extractor: no such table")


async def started(stage: Stage, **spec: Any) -> None:
    stage.uid = stage.apply(**spec)
    await stage.turn(stage.uid)
    stage.start_pods()
    await stage.turn(stage.uid)


async def succeeds(stage: Stage) -> None:
    await started(stage)
    stage.end_pods(GOOD)
    await stage.turn(stage.uid)


async def fails_for_good(stage: Stage) -> None:
    await started(stage)
    stage.end_pods(BAD, exit_code=78, reason="Error")
    stage.fail_jobs("PodFailurePolicy")
    await stage.turn(stage.uid)


async def is_cancelled(stage: Stage) -> None:
    await started(stage)
    stage.kubernetes.put(names.RUNS, {**stage.run(), "spec": {**stage.run()["spec"], "cancel": True}})
    await stage.turn(stage.uid)
    stage.collect_garbage()
    await stage.turn(stage.uid)


async def is_cancelled_at_once(stage: Stage) -> None:
    stage.uid = stage.apply(cancel=True)
    await stage.turn(stage.uid)


async def loses_its_job(stage: Stage) -> None:
    await started(stage)
    stage.kubernetes.remove("jobs", "default", stage.status()["jobName"])
    await stage.turn(stage.uid)
    stage.stop_deleted_pods()
    await stage.turn(stage.uid)


async def is_refused(stage: Stage) -> None:
    stage.uid = stage.apply(provider="azure")
    await stage.turn(stage.uid)


async def finds_its_name_taken(stage: Stage) -> None:
    stage.kubernetes.put("jobs", {"metadata": {"name": "run-given"}, "spec": {}})
    stage.uid = stage.apply(runId="run_given")
    await stage.turn(stage.uid)


async def is_deleted(stage: Stage) -> None:
    await started(stage)
    stage.watch()
    stage.kubernetes.remove(names.RUNS, "default", "billing")
    await stage.turn(stage.uid)
    stage.collect_garbage()
    await stage.turn(stage.uid)


async def expires(stage: Stage) -> None:
    await started(stage, ttlSecondsAfterFinished=0)
    stage.end_pods(GOOD)
    await stage.turn(stage.uid)
    stage.pass_time(1)
    await stage.turn(stage.uid)


Story = Callable[[Stage], Awaitable[None]]
# How each story ends, and how many Jobs it takes.
STORIES: dict[Story, tuple[Phase, int]] = {
    succeeds: (Phase.COMPLETED, 1),
    fails_for_good: (Phase.FAILED, 1),
    is_cancelled: (Phase.CANCELLED, 1),
    is_cancelled_at_once: (Phase.CANCELLED, 0),
    loses_its_job: (Phase.FAILED, 1),
    is_refused: (Phase.FAILED, 0),
    finds_its_name_taken: (Phase.FAILED, 0),
    is_deleted: (Phase.CANCELLED, 1),
    expires: (Phase.COMPLETED, 1),
}


async def told(story: Story, befalls: Befalls | None = None, nth: int = 0, *, after: bool = False) -> Stage:
    """The story with what befalls at its nth call, and a sweep and two more turns after it."""
    stage = Stage()
    stage.befalls = stage.other_takes_a_pass if befalls is Stage.other_takes_a_pass else befalls
    stage.nth, stage.after = nth, after
    await story(stage)
    await stage.sweep()
    for _ in range(2):
        await stage.turn(stage.uid)
    await stage.heal()
    return stage


def check(stage: Stage, story: Story) -> None:
    phase, jobs = STORIES[story]
    (row,) = stage.rows.values()
    record = stage.record(stage.uid)
    if record.undecided_since is None:
        assert (record.phase, row["object_uid"]) == (phase, stage.uid)
    else:
        # Nobody had seen the pods of the deleted run end: the exporter asks its target.
        assert story is is_deleted
    assert len(stage.jobs_made) == jobs
    stage.check_ledger()
    gone = (names.RUNS, "default", "billing") not in stage.kubernetes.objects
    assert gone == (story in {is_deleted, expires})
    if not gone:
        assert stage.status()["phase"] == record.phase.value
        assert stage.status()["message"] == record.message
        assert stage.status().get("recordsProcessed") == record.records_processed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("befalls", [dies, fails, Stage.other_takes_a_pass], ids=lambda befalls: befalls.__name__)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nothing_that_befalls_at_any_call_changes_the_end(story: Story, befalls: Befalls, after: bool) -> None:
    undisturbed = await told(story)
    check(undisturbed, story)
    assert undisturbed.calls >= 4
    for nth in range(1, undisturbed.calls + 1):
        stage = await told(story, befalls, nth, after=after)
        try:
            check(stage, story)
        except AssertionError as error:
            raise AssertionError(f"at call {nth} of {undisturbed.calls}") from error
