"""What the quota ledger should be after any steps: a model that computes with the pure rules of `admission.quota`."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from pipeline_core.admission.quota import Usage, exceeded
from pipeline_core.admission.subscription import Limits, check_subscription
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.phases import Phase

OUTCOMES = {Phase.COMPLETED: "succeeded", Phase.FAILED: "failed", Phase.CANCELLED: "cancelled"}


@dataclass
class Slot:
    """A reservation, as it should be in the ledger."""

    day: date
    month: date
    state: str = "held"
    outcome: str | None = None


@dataclass
class Plan:
    """An organization, as it should be."""

    zone: str
    limits: Limits
    status: str = "ACTIVE"
    usage: Usage | None = None


@dataclass
class Record:
    """A run's record, as far as the ledger goes by it."""

    final: Phase | None = None
    is_started: bool = False


@dataclass
class Model:
    """What the ledger should be."""

    now: datetime = datetime(2026, 2, 26, 9, tzinfo=UTC)
    plans: dict[str, Plan] = field(default_factory=dict)
    slots: dict[str, Slot] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    def usage_today(self, org: str) -> Usage:
        """What is used, in the organization's day."""
        plan, today = self.plans[org], self.now.astimezone(ZoneInfo(self.plans[org].zone)).date()
        return (plan.usage or Usage(day=today, month=today.replace(day=1))).on(today)

    def refusal(self, org: str) -> PipelinesError | None:
        """Why it would get no slot now."""
        plan = self.plans[org]
        try:
            check_subscription(org, is_known=True, status=plan.status)
        except PipelinesError as error:
            return error
        return exceeded(plan.limits, self.usage_today(org))

    def refused(self, org: str) -> None:
        """Counting begins with the first run of an active organization, even if it is refused."""
        plan = self.plans[org]
        if plan.usage is None and plan.status.upper() in ("ACTIVE", "TRIAL"):
            plan.usage = self.usage_today(org)

    def may_ask(self, run_id: str) -> bool:
        """Whether this run would have to get a slot."""
        return run_id not in self.slots and (run_id not in self.records or self.records[run_id].final is None)

    def is_spent(self, run_id: str) -> bool:
        """Whether its slot was given back though it isn't over: it gets no other."""
        slot, record = self.slots.get(run_id), self.records.get(run_id)
        return slot is not None and slot.state == "released" and (record is None or record.final is None)

    def admit(self, run_id: str) -> None:
        """It has got a slot."""
        org = org_of(run_id)
        usage = self.usage_today(org)
        self.plans[org].usage = replace(
            usage, concurrent=usage.concurrent + 1, day_used=usage.day_used + 1, month_used=usage.month_used + 1
        )
        self.slots[run_id] = Slot(usage.day, usage.month)
        self.records.setdefault(run_id, Record())

    def release(self, run_id: str) -> bool:
        """Its slot is given back, once."""
        slot = self.slots.get(run_id)
        if slot is None or slot.state == "released":
            return False
        slot.state = "released"
        self._add(org_of(run_id), concurrent=-1)
        return True

    def finish(self, run_id: str, phase: Phase, *, is_started: bool, frees: bool) -> None:
        """Its record has ended, or had."""
        record = self.records[run_id]
        if record.final is None:
            record.final, record.is_started = phase, record.is_started or is_started or phase is Phase.COMPLETED
            self._settle(run_id, OUTCOMES[phase] if record.is_started else "refunded")
        if frees:
            self.release(run_id)

    def _settle(self, run_id: str, outcome: str) -> None:
        slot, usage = self.slots.get(run_id), self.plans[org_of(run_id)].usage
        if slot is None or usage is None:
            return
        slot.outcome = outcome
        for period, is_now in (("day", slot.day == usage.day), ("month", slot.month == usage.month)):
            if is_now and outcome == "refunded":
                self._add(org_of(run_id), **{f"{period}_used": -1})
            elif is_now and outcome != "cancelled":
                self._add(org_of(run_id), **{f"{period}_{outcome}": 1})

    def _add(self, org: str, **changes: int) -> None:
        usage = self.plans[org].usage
        assert usage is not None
        self.plans[org].usage = replace(usage, **{name: getattr(usage, name) + by for name, by in changes.items()})  # type: ignore[arg-type]


def org_of(run_id: str) -> str:
    """Whose run it is, by its id."""
    return run_id.partition("_")[0]
