"""QuotaLedger and AdmissionFacts without PostgreSQL: the same rules over the records in memory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline_core.admission.admit import Facts
from pipeline_core.admission.quota import Usage, exceeded
from pipeline_core.admission.subscription import Limits, check_subscription
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store import changes
from pipeline_core.store.errors import RunIdTakenError
from pipeline_core.store.quota.ledger import HeldSlot
from pipeline_core.store.quota.settle import of_run
from pipeline_core.store.quota.standing import Standing
from pipeline_core.store.quota.unmade import Reserved
from pipeline_core.store.runs import NewRun, StoredRun, phase_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.operator_world import FakeRecords

PLENTY = Limits(1_000_000, 1_000_000, 1_000)
SETTINGS = {"billing_project_id": "acme-billing", "billing_dataset_id": "billing"}


@dataclass
class Reservation:
    """A row of the ledger."""

    org_slug: str
    reserved_at: datetime
    held: bool = True
    outcome: str | None = None


@dataclass
class FakePlans:
    """What organizations may do: limits, status, integrations (with every provider); `acme` alone is known at first."""

    limits: dict[str, Limits] = field(default_factory=lambda: {"acme": PLENTY})
    status: dict[str, str | None] = field(default_factory=dict)
    integrated: set[str] = field(default_factory=lambda: {"acme"})
    # The Secret that an organization's integrations name.
    secrets: dict[str, str] = field(default_factory=dict)

    def status_of(self, org: str) -> str | None:
        return self.status.get(org, "ACTIVE") if org in self.limits else None


class FakeLedger:
    """Settled by the records, as in PostgreSQL, within the same call."""

    def __init__(self, records: "FakeRecords", plans: FakePlans, now: "Callable[[], datetime]") -> None:
        self.records = records
        self.plans = plans
        self.now = now
        self.rows: dict[str, Reservation] = {}
        records.ledger = self

    async def reserve(self, record: NewRun) -> StoredRun:
        self.records.fault("reserve")
        before = self.records.rows.get(record.run_id)
        stored = self.records.begun(record)
        row = self.rows.get(record.run_id)
        if stored.phase.is_final or (row is not None and row.held):
            if row is None or stored.object_uid is not None or stored.phase.is_final:
                return stored
            # Whoever asks again is about to make the object; no two renewals are at the same time.
            row.reserved_at = max(self.now(), row.reserved_at + timedelta(microseconds=1))
            return replace(stored, reserved_at=row.reserved_at)
        try:
            if row is not None:
                raise RunIdTakenError(record.run_id)
            self._check(record.org_slug)
        except Exception:
            # Rolled back in place: others look at the same rows.
            self.records.rows.pop(record.run_id)
            if before is not None:
                self.records.rows[record.run_id] = before
            raise
        self.rows[record.run_id] = Reservation(record.org_slug, self.now())
        return replace(stored, took_slot=True, reserved_at=self.now())

    async def release(self, run_id: str, *, object_uid: str | None = None) -> bool:
        self.records.fault("release")
        record, held = self.records.rows.get(run_id), run_id in self.rows and self.rows[run_id].held
        if record is not None and object_uid not in (None, record["object_uid"]):
            return False
        if record is not None:
            self.settle(StoredRun.from_row(record), frees=True)
        else:
            self._free(run_id)
        return held

    async def end_unmade(self, slot: Reserved, *, at: datetime, message: str) -> bool:
        self.records.fault("end_unmade")
        run, row = StoredRun.from_row(self.records.rows[slot.run_id]), self.rows[slot.run_id]
        if run.phase.is_final or run.object_uid is not None or row.reserved_at != slot.reserved_at or not row.held:
            return False
        end = {"phase": Phase.FAILED, "error_message": message, "message": message, "reason": Reason.REJECTED}
        self.records.rows[slot.run_id].update(changes.finished(run, at=at, **end))  # type: ignore[arg-type]
        self.settle(StoredRun.from_row(self.records.rows[slot.run_id]), frees=True)
        return True

    async def holds(self, run_id: str) -> bool:
        self.records.fault("holds")
        return run_id in self.rows and self.rows[run_id].held

    async def held(self, *, org_slug: str | None = None, after: str = "", limit: int = 500) -> list[HeldSlot]:
        self.records.fault("held")
        found = [
            self._slot(run_id, row)
            for run_id, row in sorted(self.rows.items())
            if row.held and run_id > after and org_slug in {None, row.org_slug}
        ]
        return found[:limit]

    async def room(self, orgs: Collection[str]) -> Mapping[str, int]:
        self.records.fault("room")
        limits = {org: self.plans.limits[org].concurrent or 0 for org in orgs if org in self.plans.limits}
        free = {org: limit - self.usage(org).concurrent for org, limit in limits.items()}
        return {org: slots for org, slots in free.items() if slots > 0}

    async def standing(self, org_slug: str) -> Standing:
        self.records.fault("standing")
        is_known = org_slug in self.plans.limits
        limits = self.plans.limits.get(org_slug, Limits(None, None, None))
        status, usage = self.plans.status_of(org_slug), self.usage(org_slug)
        days = (timedelta(hours=1), timedelta(days=1))
        return Standing(org_slug, is_known, status, None, limits, usage, usage.day, *days)

    async def drift(self) -> list[Any]:
        self.records.fault("drift")
        return []

    def settle(self, run: StoredRun, *, frees: bool) -> None:
        """What the record says of the reservation, in the record's own transaction."""
        settlement, row = of_run(run, frees=frees), self.rows.get(run.run_id)
        if settlement is None or row is None:
            return
        row.outcome = row.outcome or settlement.outcome
        if settlement.frees:
            self._free(run.run_id)

    def usage(self, org: str) -> Usage:
        """All in one day."""
        rows = [row for row in self.rows.values() if row.org_slug == org]
        today = self.now().date()
        used = sum(row.outcome != "refunded" for row in rows)
        return Usage(
            day=today,
            month=today.replace(day=1),
            day_used=used,
            month_used=used,
            concurrent=sum(row.held for row in rows),
        )

    def _check(self, org: str) -> None:
        status = self.plans.status_of(org)
        check_subscription(org, is_known=org in self.plans.limits, status=status)
        refusal = exceeded(self.plans.limits[org], self.usage(org))
        if refusal is not None:
            raise refusal

    def _free(self, run_id: str) -> None:
        if run_id in self.rows:
            self.rows[run_id].held = False

    def _slot(self, run_id: str, row: Reservation) -> HeldSlot:
        record = self.records.rows.get(run_id)
        return HeldSlot(
            run_id,
            row.org_slug,
            row.reserved_at,
            self.now() - row.reserved_at,
            is_recorded=record is not None,
            is_over=record is not None and phase_of(record["status"]).is_final,
            object_namespace=record and record["object_namespace"],
            object_name=record and record["object_name"],
            object_uid=record and record["object_uid"],
        )


class FakeFacts:
    """What is known of organizations."""

    def __init__(self, plans: FakePlans) -> None:
        self._plans = plans

    async def get(self, org_slug: str, provider: str) -> Facts:
        known = org_slug in self._plans.limits
        integration = SETTINGS if org_slug in self._plans.integrated else None
        secret = self._plans.secrets.get(org_slug)
        return Facts(known, self._plans.status_of(org_slug), integration, credential_secret=secret)
