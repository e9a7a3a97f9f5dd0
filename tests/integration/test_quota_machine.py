"""Any order of reserving, finishing, releasing, changed plans, passing days and cut connections: the ledger is right.

Against the real PostgreSQL, by a model that computes with the pure rules of `admission.quota`. After every step the
counters are what the ledger adds up to, both are what the model says, and so are the answers.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import Limits
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.quota.recompute import drift, recompute
from pipeline_core.store.quota.reserve import reserve_one
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from support.cut_connections import When
from support.quota import counted, give_clock, give_witness, over_limit, run_of, set_clock
from support.quota_model import Plan, Record, org_of
from support.quota_processes import PROCESSES, LedgerProcesses
from support.runs import after

STEPS = int(os.environ.get("PIPELINES_TEST_QUOTA_STEPS", "2000"))
MANY_STEPS = 10_000
STEPS_OF_AN_EXAMPLE = 50
PROCESS = st.integers(0, PROCESSES - 1)
WHEN = st.sampled_from(["before", "after"])

# East and West never have the same date.
EAST, WEST = "Pacific/Kiritimati", "Pacific/Pago_Pago"
ZONES = st.sampled_from(["Etc/UTC", EAST, WEST, "America/Havana"])
ORGS = st.sampled_from(["acme", "brook"])
RUNS = st.builds(lambda org, number: f"{org}_{number}", ORGS, st.integers(0, 11))
FINAL = st.sampled_from([phase for phase in Phase if phase.is_final])
LIMIT = st.none() | st.integers(0, 6)
STATUS = st.sampled_from(["ACTIVE", "ACTIVE", "TRIAL", "active", "SUSPENDED"])


class Ledger(LedgerProcesses, RuleBasedStateMachine):
    """Two organizations, three processes and one behind a proxy that cuts, and a clock that only the test moves."""

    steps = 0

    @initialize(zones=st.tuples(ZONES, ZONES), limits=st.tuples(st.integers(1, 6), st.integers(1, 6)))
    def begin(self, zones: tuple[str, str], limits: tuple[int, int]) -> None:
        self.open()
        for org, zone, limit in zip(("acme", "brook"), zones, limits, strict=True):
            self.model.plans[org] = Plan(zone, Limits(12, 30, limit))
            self._write_plan(org)

    # --- what is asked of the ledger

    @rule(run_id=RUNS, process=PROCESS, is_alone=st.booleans())
    def reserve(self, run_id: str, process: int, is_alone: bool) -> None:
        self._ask([(run_id, process, is_alone)])

    @rule(
        asked=st.lists(st.tuples(RUNS, PROCESS, st.booleans()), min_size=2, max_size=12),
    )
    def reserve_together(self, asked: list[tuple[str, int, bool]]) -> None:
        self._ask(asked)

    @rule(run_id=RUNS, process=PROCESS)
    def release(self, run_id: str, process: int) -> None:
        assert self.run(self.ledgers[process].release(run_id)) == self.model.release(run_id)

    @rule(runs=st.lists(RUNS, min_size=2, max_size=6))
    def release_from_everywhere(self, runs: list[str]) -> None:
        async def everywhere() -> list[tuple[str, bool]]:
            calls = [(run_id, ledger) for run_id in runs for ledger in self.ledgers]
            return list(
                zip(
                    [run_id for run_id, _ in calls],
                    await asyncio.gather(*(ledger.release(run_id) for run_id, ledger in calls)),
                    strict=True,
                )
            )

        told: list[tuple[str, bool]] = self.run(everywhere())  # type: ignore[assignment]
        freed = {run_id for run_id in runs if self.model.release(run_id)}
        assert {run_id for run_id, was_freed in told if was_freed} == freed

    @rule(run_id=RUNS, phase=FINAL, is_started=st.booleans(), frees=st.booleans(), process=PROCESS)
    def finish(self, run_id: str, phase: Phase, is_started: bool, frees: bool, process: int) -> None:
        if run_id not in self.model.records:
            with pytest.raises(RunNotRecordedError):
                self.run(self._finish(process, run_id, phase, is_started, frees))
            return
        self.run(self._finish(process, run_id, phase, is_started, frees))
        self.model.finish(run_id, phase, is_started=is_started, frees=frees)

    @rule(run_id=RUNS)
    def start(self, run_id: str) -> None:
        if record := self.model.records.get(run_id):
            self.run(self.records[0].advance(run_id, phase=Phase.RUNNING, at=after(1)))
            record.is_started = record.is_started or record.final is None

    @rule(run_id=RUNS, frees=st.booleans())
    def leave_undecided(self, run_id: str, frees: bool) -> None:
        if run_id in self.model.records:
            uid = f"uid-of-{run_id}"
            self.run(self.records[0].leave_undecided(run_id, at=after(2), message="gone", object_uid=uid, frees=frees))
            if frees:
                self.model.release(run_id)

    @rule(run_id=RUNS)
    def record_a_refusal(self, run_id: str) -> None:
        """As the operator does with a run that is refused: a record that ends at once, and no slot."""
        if run_id in self.model.records:
            return
        self.run(self.records[0].begin(run_of(org_of(run_id), run_id)))
        self.model.records[run_id] = Record()
        self.finish(run_id, Phase.FAILED, is_started=False, frees=True, process=0)

    @rule(
        asked=st.lists(st.tuples(RUNS, PROCESS, st.booleans()), min_size=1, max_size=6),
        ends=st.lists(st.tuples(RUNS, FINAL, st.booleans()), min_size=1, max_size=6, unique_by=lambda end: end[0]),
    )
    def reserve_while_others_end(self, asked: list[tuple[str, int, bool]], ends: list[tuple[str, Phase, bool]]) -> None:
        ends = [end for end in ends if end[0] in self.model.slots]
        asked = [each for each in asked if each[0] not in {run_id for run_id, *_ in ends}]
        least = {org: self._room(org) for org in self.model.plans}

        async def both() -> list[tuple[str, StoredRun | PipelinesError]]:
            told, *_ = await asyncio.gather(
                self._reserve_all(asked),
                *(self._finish(place % PROCESSES, *end, True) for place, end in enumerate(ends)),
            )
            return told

        new = {run_id for run_id, *_ in asked if self.model.may_ask(run_id)}
        told: list[tuple[str, StoredRun | PipelinesError]] = self.run(both())  # type: ignore[assignment]
        # What ended counts in the day that it began in, or in none: the order doesn't matter.
        for run_id, phase, is_started in ends:
            self.model.finish(run_id, phase, is_started=is_started, frees=True)
        admitted = {run_id for run_id, answer in told if isinstance(answer, StoredRun)} & new
        for org in self.model.plans:
            of_org = {run_id for run_id in new if org_of(run_id) == org}
            most = self._room(org)
            assert min(len(of_org), least[org]) <= len(admitted & of_org) <= min(len(of_org), most)
            if of_org - admitted:
                self.model.refused(org)
        for run_id in admitted:
            self.model.admit(run_id)

    # --- what goes wrong

    @rule(run_id=RUNS, at=st.integers(0, 6), when=WHEN, is_alone=st.booleans())
    def reserve_and_be_cut_off(self, run_id: str, at: int, when: When, is_alone: bool) -> None:
        record = run_of(org_of(run_id), run_id)
        ledger = QuotaLedger(self.cut_off)
        self._cut_off(at, when, reserve_one(self.cut_off, record) if is_alone else ledger.reserve(record))
        self._ask([(run_id, 0, is_alone)])

    @rule(run_id=RUNS, at=st.integers(0, 4), when=WHEN, phase=FINAL, frees=st.booleans())
    def finish_and_be_cut_off(self, run_id: str, at: int, when: When, phase: Phase, frees: bool) -> None:
        if run_id in self.model.records:
            self._cut_off(at, when, RunRecords(self.cut_off).finish(run_id, phase=phase, at=after(2), frees=frees))
            self.finish(run_id, phase, is_started=False, frees=frees, process=0)

    @rule(run_id=RUNS, at=st.integers(0, 2), when=WHEN)
    def release_and_be_cut_off(self, run_id: str, at: int, when: When) -> None:
        self._cut_off(at, when, QuotaLedger(self.cut_off).release(run_id))
        self.run(self.ledgers[0].release(run_id))
        self.model.release(run_id)

    @rule(run_id=RUNS)
    def reserve_and_be_ended_by_the_server(self, run_id: str) -> None:
        """A session that is ended while it waits for the counters, which another transaction holds."""
        if not self.model.may_ask(run_id) or self.model.plans[org_of(run_id)].usage is None:
            return
        self.run(self._end_session_of(run_id))
        self._ask([(run_id, 0, True)])

    # --- what changes around it

    @rule(org=ORGS, per_day=st.none() | st.integers(0, 12), per_month=st.none() | st.integers(0, 30), concurrent=LIMIT)
    def change_limits(self, org: str, per_day: int | None, per_month: int | None, concurrent: int | None) -> None:
        self.model.plans[org].limits = Limits(per_day, per_month, concurrent)
        self._write_plan(org)

    @rule(org=ORGS, status=STATUS)
    def change_status(self, org: str, status: str) -> None:
        self.model.plans[org].status = status
        self._write_plan(org)

    @rule(org=ORGS, zone=ZONES)
    def move(self, org: str, zone: str) -> None:
        self.model.plans[org].zone = zone
        self._write_plan(org)

    @rule(hours=st.sampled_from([1, 5, 13, 24, 24, 48, 24 * 31, -1, -30]))
    def time_passes(self, hours: int) -> None:
        """Also backwards, as where another server takes over whose clock is behind."""
        self.model.now += timedelta(hours=hours)
        self.run(set_clock(self.engines[0], self.model.now))

    @rule(org=ORGS)
    def recompute(self, org: str) -> None:
        recomputed = self.run(recompute(self.engines[0], org))
        assert recomputed.drifts == []  # type: ignore[attr-defined]
        self.model.plans[org].usage = self.model.usage_today(org)

    # --- what always holds

    @invariant()
    def ledger_counters_and_model_agree(self) -> None:
        type(self).steps += 1
        usage: dict[str, Usage] = self.run(counted(self.engines[0]))  # type: ignore[assignment]
        assert usage == {org: plan.usage for org, plan in self.model.plans.items() if plan.usage is not None}
        assert self.run(self._rows()) == (
            {run_id: (s.day, s.month, s.state, s.outcome) for run_id, s in self.model.slots.items()},
            {run_id: record.final for run_id, record in self.model.records.items()},
        )

    @invariant()
    def no_increase_has_ended_above_the_limit(self) -> None:
        assert self.run(over_limit(self.engines[0])) == 0

    @invariant()
    def nothing_drifts(self) -> None:
        assert self.run(drift(self.engines[0])) == []

    def teardown(self) -> None:
        self.close()

    # --- how it is done

    def _ask(self, asked: Sequence[tuple[str, int, bool]]) -> None:
        new = {run_id for run_id, *_ in asked if self.model.may_ask(run_id)}
        spent = {run_id for run_id, *_ in asked if self.model.is_spent(run_id)}
        room = {org: self._room(org) for org in self.model.plans}
        told: list[tuple[str, StoredRun | PipelinesError]] = self.run(self._reserve_all(asked))  # type: ignore[assignment]
        admitted = {run_id for run_id, answer in told if isinstance(answer, StoredRun)} & new
        for run_id in admitted:
            self.model.admit(run_id)
        wanted = Counter(org_of(run_id) for run_id in new)
        assert Counter(map(org_of, admitted)) == Counter({org: min(wanted[org], room[org]) for org in wanted})
        for run_id, answer in told:
            assert isinstance(answer, RunIdTakenError) == (run_id in spent)
            if run_id in spent:
                continue
            if isinstance(answer, StoredRun):
                assert answer.run_id == run_id
                assert not answer.took_slot or run_id in admitted
                assert run_id in admitted or run_id not in new
                continue
            # the order among the runs is anybody's, the reason isn't: nothing was freed meanwhile
            refusal = self.model.refusal(org_of(run_id))
            assert run_id in new - admitted
            assert (type(answer), str(answer)) == (type(refusal), str(refusal))
            self.model.refused(org_of(run_id))

    def _room(self, org: str) -> int:
        if (plan := self.model.plans[org]).status.upper() not in ("ACTIVE", "TRIAL"):
            return 0
        usage, limits = self.model.usage_today(org), plan.limits
        free = (
            (limits.per_day or 0) - usage.day_used,
            (limits.per_month or 0) - usage.month_used,
            (limits.concurrent or 0) - usage.concurrent,
        )
        return max(0, min(free))


@pytest.fixture
def machine(database_url: str) -> type[Ledger]:
    give_witness(database_url)
    give_clock(database_url)
    Ledger.url, Ledger.steps = database_url, 0
    return Ledger


def run(machine: type[Ledger], steps: int) -> None:
    while machine.steps < steps:  # an example may be shorter
        options = settings(
            max_examples=-(-(steps - machine.steps) // STEPS_OF_AN_EXAMPLE),
            stateful_step_count=STEPS_OF_AN_EXAMPLE,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(machine, settings=options)  # type: ignore[no-untyped-call]


def test_any_order_of_two_thousand_steps(machine: type[Ledger]) -> None:
    run(machine, STEPS)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_any_order_of_many_steps(machine: type[Ledger]) -> None:
    run(machine, max(STEPS, MANY_STEPS))
