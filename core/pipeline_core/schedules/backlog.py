"""Works off missed ticks one after the other (`catchUp: All`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipeline_core.schedules.allowance import RECHECK, RETRY, SOON, STORE_AWAY, allow, earliest
from pipeline_core.schedules.decision import Make, Missed, Needs
from pipeline_core.schedules.facts import MOST_TICKS, NO_NEEDS, Facts, tell
from pipeline_core.schedules.observed import Backlog, CatchUp, Cause, ConcurrencyPolicy, MissedReason

# How much lower than the schedule's live ticks: these go first where an organization's runs wait.
BELOW = 100
WINDOW = 20
_WINDOWS = 3  # that are asked about in one pass
AT_ONCE = 5
_SECOND = timedelta(seconds=1)
_EXPIRED = "Its turn to be caught up came later than startingDeadlineSeconds allows"
_LIMIT = "It is older than the newest {} missed ticks, which catchUpLimit allows to be caught up"
_SWITCHED = "It waited to be caught up when catchUp became {}"


@dataclass(frozen=True, slots=True)
class Work:
    """What becomes of the backlog. With needs, nothing is decided. `message` is why nothing of it goes on."""

    backlog: Backlog | None
    makes: tuple[Make, ...] = ()
    missed: tuple[Missed, ...] = ()
    message: str = ""
    look_again_at: datetime | None = None
    needs: Needs = NO_NEEDS


def extend(facts: Facts, backlog: Backlog | None, ticks: Sequence[datetime]) -> Work:
    """Put missed ticks at the end, and leave out the oldest of all beyond `catchUpLimit`."""
    if not ticks or facts.timetable is None:
        return Work(backlog)
    waiting = list(ticks)
    if backlog is not None:
        # Between the two there may be ticks that had their run in time, but none that was missed.
        between = facts.timetable.last(backlog.after, ticks[0] - _SECOND, MOST_TICKS)
        waiting = [*[tick for tick in between if not facts.is_made_live(tick)], *ticks]
    limit = max(facts.spec.catch_up_limit, 1)
    left_out, kept = waiting[:-limit], waiting[-limit:]
    # Those that stay are asked about when it is their turn; new ones were.
    unsure = facts.unsure_ticks(tick for tick in left_out if tick < ticks[0])
    if unsure:
        return Work(backlog, needs=Needs(outcomes=unsure))
    missed = tell(MissedReason.CATCH_UP_LIMIT, facts.unmade(left_out), _LIMIT.format(limit))
    after = kept[0] - _SECOND if left_out or backlog is None else backlog.after
    return Work(Backlog(after, ticks[-1]), missed=tuple(missed))


def drop(facts: Facts, backlog: Backlog | None, reason: MissedReason, message: str) -> Work:
    """Give the backlog up; what is made of it goes on."""
    if backlog is None or facts.timetable is None:
        return Work(None)
    ticks = facts.timetable.last(backlog.after, backlog.until, MOST_TICKS)
    unsure = facts.unsure_ticks(ticks)
    return Work(None, missed=tuple(tell(reason, facts.unmade(ticks), message)), needs=Needs(outcomes=unsure))


def work_off(facts: Facts, backlog: Backlog | None, *, is_live: bool) -> Work:
    """Go on with the backlog: `is_live` says whether a tick has its run made in this very pass."""
    catch_up = facts.spec.catch_up
    if backlog is None or facts.timetable is None or not facts.spec.enabled:
        return Work(backlog)
    if facts.known.is_store_away:
        message = "" if facts.unended(Cause.CATCH_UP) else STORE_AWAY
        return Work(backlog, message=message, look_again_at=facts.second + RETRY)
    if catch_up is not CatchUp.ALL:
        return drop(facts, backlog, MissedReason.NOT_CAUGHT_UP, _SWITCHED.format(catch_up))
    work, window = _move_on(facts, backlog)
    if work.needs or work.backlog is None:
        return work
    unmade = [tick for tick in facts.unmade(window) if not facts.is_expired(tick)]
    orphans = [tick for tick in window if facts.is_orphan(facts.tick_id(tick))]
    active = len(facts.unended(Cause.CATCH_UP)) + len(orphans)
    wanted = unmade[: max(_places(facts, is_live=is_live) - active, 0)]
    allowance = allow(facts, len(wanted))
    return replace(
        work,
        makes=tuple(facts.make(tick, Cause.CATCH_UP, BELOW) for tick in wanted[: allowance.runs]),
        message="" if allowance.runs or active else allowance.message,
        look_again_at=earliest(work.look_again_at, allowance.again_at, facts.second + RECHECK if orphans else None),
        needs=allowance.needs,
    )


def _places(facts: Facts, *, is_live: bool) -> int:
    """How many of its runs may go on at once."""
    policy = facts.spec.concurrency_policy
    if policy is ConcurrencyPolicy.ALLOW:
        return AT_ONCE
    is_forbidden = policy is ConcurrencyPolicy.FORBID and (is_live or bool(facts.unended(Cause.TICK)))
    return 0 if is_forbidden else 1


def _move_on(facts: Facts, backlog: Backlog) -> tuple[Work, list[datetime]]:
    """Pass over the ticks that are done with, and give the next ones.

    Where many are, the status keeps how far one pass came.
    """
    missed: list[datetime] = []
    after, again_at = backlog.after, None
    windows = 0
    while True:
        window = facts.timetable.upcoming(after, backlog.until, WINDOW) if facts.timetable else []
        needs = Needs(outcomes=facts.unsure_ticks(window))
        if needs and windows < _WINDOWS:
            return Work(backlog, needs=needs), []
        if needs:
            again_at = facts.second + SOON
            break
        passed = 0
        for tick in window:
            is_expired = not facts.is_made(tick) and facts.is_expired(tick)
            if not is_expired and not _is_done(facts, tick):
                break
            passed += 1
            missed += [tick] if is_expired else []
        if not passed:
            break
        after = window[passed - 1]
        windows += 1
    told = tuple(tell(MissedReason.DEADLINE, missed, _EXPIRED))
    left = Work(replace(backlog, after=after) if window else None, missed=told, look_again_at=again_at)
    return left, [] if again_at else window


def _is_done(facts: Facts, tick: datetime) -> bool:
    """Whether its run has ended, or was made in time: then it is none of the backlog's."""
    phase = facts.phase(facts.tick_id(tick))
    return facts.is_made_live(tick) or (phase is not None and phase.is_final)
