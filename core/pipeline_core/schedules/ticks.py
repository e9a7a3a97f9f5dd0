"""Decides about the ticks that are due: which has its run now, which is caught up later, which is missed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pipeline_core.schedules.backlog import drop, extend
from pipeline_core.schedules.decision import Cancel, Make, Missed, Needs
from pipeline_core.schedules.facts import IN_TIME, MOST_TICKS, NO_NEEDS, PROMPT, Facts, merge, tell
from pipeline_core.schedules.observed import Backlog, CatchUp, Cause, ConcurrencyPolicy, MissedReason

_STILL_RUNNING = "The run of an earlier tick hadn't ended, and concurrencyPolicy is Forbid"
_EXPIRED = "It was later than startingDeadlineSeconds allows when it was seen"
_LATE = "It was seen too late, and catchUp is {}"


@dataclass(frozen=True, slots=True)
class Live:
    """What becomes of the ticks that are due. With needs, nothing is decided."""

    handled_until: datetime
    backlog: Backlog | None
    makes: tuple[Make, ...] = ()
    cancels: tuple[Cancel, ...] = ()
    missed: tuple[Missed, ...] = ()
    needs: Needs = NO_NEEDS


def decide_ticks(facts: Facts, handled_until: datetime, backlog: Backlog | None) -> Live:
    """See to every tick after `handled_until` that is due."""
    ticks = _due(facts, handled_until)
    if not ticks:
        return Live(handled_until, backlog)
    unmade = facts.unmade(ticks)
    must_ask = bool(unmade) and facts.problem is None and facts.known.inactive is None
    needs = Needs(organization=must_ask, outcomes=_uncertain(facts, ticks))
    if needs:
        return Live(handled_until, backlog, needs=needs)
    live = Live(ticks[-1], backlog, cancels=_overtaken(facts, ticks[-1]))
    if unmade and facts.refusal is not None:
        return _give_up(facts, live, unmade, *facts.refusal)
    expired = [tick for tick in unmade if facts.is_expired(tick)]
    if expired:
        live = _give_up(facts, live, expired, MissedReason.DEADLINE, _EXPIRED)
    waiting = unmade
    if facts.spec.catch_up is CatchUp.ALL:
        # Also those that a process that died before it told had begun to catch up: they are of the backlog.
        waiting = [tick for tick in ticks if not facts.is_made_live(tick)]
    return _catch_up(facts, live, [tick for tick in waiting if tick not in expired])


def _due(facts: Facts, handled_until: datetime) -> list[datetime]:
    until = facts.now - facts.offset
    if facts.timetable is None or not facts.spec.enabled or until <= handled_until:
        return []
    return facts.timetable.last(handled_until, until, MOST_TICKS)


def _uncertain(facts: Facts, ticks: Sequence[datetime]) -> tuple[str, ...]:
    """Those that may have had a run whose object is gone: seen late, or first, or again by a clock set back.

    Of the others of a long outage, which nobody can have made and nobody makes, nothing is asked.
    """
    last_run_at = facts.schedule.status.last_run_at

    def is_sure(tick: datetime) -> bool:
        is_prompt = facts.now - facts.due(tick) <= PROMPT and not facts.known.is_first_look
        return is_prompt and (last_run_at is None or last_run_at < tick)

    return facts.unsure_ticks(tick for tick in facts.doubtful(ticks) if not is_sure(tick))


def _give_up(facts: Facts, live: Live, ticks: Sequence[datetime], reason: MissedReason, message: str) -> Live:
    """These are missed, and so is the backlog before them: none of it may be made either, or is in time any more.

    Else the backlog, when another tick joins its end, would make runs of ticks that were told to be missed.
    """
    dropped = drop(facts, live.backlog, reason, message)
    missed = (*dropped.missed, *tell(reason, ticks, message))
    return replace(live, backlog=None, missed=missed, needs=dropped.needs)


def _catch_up(facts: Facts, live: Live, waiting: Sequence[datetime]) -> Live:
    """Share the ticks out: the newest is made if it may be now, the ones before it are late by a tick or more."""
    newest, catch_up = live.handled_until, facts.spec.catch_up
    older = [tick for tick in waiting if tick != newest]
    missed: list[Missed] = list(live.missed)
    queued: list[datetime] = []
    makes: list[Make] = []
    if catch_up is CatchUp.ALL:
        queued = older
    else:
        missed += tell(MissedReason.NOT_CAUGHT_UP, older, _LATE.format(catch_up))
    if newest in waiting:
        is_late = facts.lateness(newest) > IN_TIME
        if is_late and catch_up is CatchUp.NONE:
            missed += tell(MissedReason.NOT_CAUGHT_UP, [newest], _LATE.format(catch_up))
        elif catch_up is CatchUp.ALL and (
            is_late or facts.is_made(newest) or _joins_backlog(facts, is_pending=bool(queued or live.backlog))
        ):
            queued = [*older, newest]
        elif _is_forbidden(facts):
            missed += tell(MissedReason.STILL_RUNNING, [newest], _STILL_RUNNING)
        else:
            makes.append(facts.make(newest, Cause.TICK))
    extended = extend(facts, live.backlog, queued)
    return replace(
        live,
        backlog=extended.backlog,
        makes=tuple(makes),
        cancels=_cancels(facts, newest) if makes else live.cancels,
        missed=(*missed, *extended.missed),
        needs=merge(live.needs, extended.needs),
    )


def _is_forbidden(facts: Facts) -> bool:
    is_forbid = facts.spec.concurrency_policy is ConcurrencyPolicy.FORBID
    return is_forbid and bool(facts.unended(Cause.TICK, Cause.CATCH_UP))


def _joins_backlog(facts: Facts, *, is_pending: bool) -> bool:
    """Whether a tick in time is caught up later: `catchUp: All` is at it, so it isn't lost to `Forbid`.

    While there is a backlog, also where the run of a live tick goes on: a tick that was missed may not lie between two
    of the backlog's.
    """
    return _is_forbidden(facts) and (is_pending or not facts.unended(Cause.TICK))


def _overtaken(facts: Facts, newest: datetime) -> tuple[Cancel, ...]:
    """The cancels of a newest tick whose run was made before; the process may have died between the two."""
    run = facts.by_id.get(facts.tick_id(newest))
    return _cancels(facts, newest) if run is not None and run.cause is Cause.TICK else ()


def _cancels(facts: Facts, newest: datetime) -> tuple[Cancel, ...]:
    if facts.spec.concurrency_policy is not ConcurrencyPolicy.REPLACE:
        return ()
    runs = [run for run in facts.unended(Cause.TICK) if run.tick is not None and run.tick < newest]
    return tuple(Cancel(run.name, run.uid) for run in runs if not run.is_cancelled)
