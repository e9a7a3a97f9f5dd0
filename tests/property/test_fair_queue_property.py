"""The queue of waiting runs: whatever happens to it in whatever order, it calls in the order that is promised."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline_core.admission.fair_queue import FairQueue, Rank

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
ORGS = ("acme", "globex", "initech", "umbrella")
# From so many organizations and runs on, what grows with their product is seen.
MANY_ORGS, MANY_RUNS = 5_000, 50_000

orgs = st.sampled_from(ORGS)
ranks = st.builds(
    lambda priority, second, name: Rank(0, -priority, T0 + timedelta(seconds=second), f"run-{name}"),
    st.integers(0, 2),
    st.integers(0, 3),
    st.integers(0, 3),
)
rooms = st.dictionaries(orgs, st.integers(0, 3))


class Queues(RuleBasedStateMachine):
    """Against a model: each run's organization and rank, which runs are called, and who is owed a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue()
        self.known: dict[str, tuple[str, Rank]] = {}
        self.called: set[str] = set()
        # What each waiting organization has seen of the others since it was served last, or has come.
        self.passed: dict[str, Counter[str]] = {}

    def waiting(self, org: str) -> list[str]:
        found = [(rank, key) for key, (of, rank) in self.known.items() if of == org and key not in self.called]
        return [key for _, key in sorted(found)]

    def follow(self) -> None:
        """Who has nothing left to be called gives up its turn."""
        self.passed = {org: self.passed.get(org, Counter()) for org in ORGS if self.waiting(org)}

    @rule(key=st.integers(0, 20).map(str), org=orgs, rank=ranks)
    def put(self, key: str, org: str, rank: Rank) -> None:
        self.queue.put(org, key, rank)
        if self.known.get(key) == (org, rank) and key not in self.called:
            return
        self.known.pop(key, None)
        self.called.discard(key)
        self.follow()
        self.known[key] = (org, rank)
        self.follow()

    @rule(key=st.integers(0, 20).map(str))
    def again(self, key: str) -> None:
        self.queue.again(key)
        if key in self.known:
            org, rank = self.known.pop(key)
            self.called.discard(key)
            self.follow()
            self.known[key] = (org, rank._replace(silences=rank.silences + 1))
        self.follow()

    @rule(key=st.integers(0, 20).map(str))
    def leave(self, key: str) -> None:
        assert self.queue.leave(key) == (self.known[key][0] if key in self.known else None)
        self.known.pop(key, None)
        self.called.discard(key)
        self.follow()

    @rule(room=rooms, most=st.integers(0, 5))
    def call(self, room: dict[str, int], most: int) -> None:
        left = {org: slots - sum(self.known[key][0] == org for key in self.called) for org, slots in room.items()}
        able = sum(max(0, min(slots, len(self.waiting(org)))) for org, slots in left.items())
        called = self.queue.call(room, most)
        assert len(called) == min(most, able)
        for key in called:
            org = self.known[key][0]
            assert key == self.waiting(org)[0], "first come within priority"
            assert left[org] > 0, "no more than there is room for"
            for other, passed in self.passed.items():
                if other == org:
                    continue
                passed[org] += 1
                # The bound: at most one run of each other organization while one has room.
                assert passed[org] == 1 or left.get(other, 0) <= 0
            left[org] -= 1
            self.called.add(key)
            self.passed[org] = Counter()
            self.follow()

    @rule(key=st.integers(0, 20).map(str))
    def call_one(self, key: str) -> None:
        self.queue.call_one(key)
        if key in self.known and key not in self.called:
            self.called.add(key)
            self.passed[self.known[key][0]] = Counter()
            self.follow()

    @invariant()
    def agrees(self) -> None:
        assert len(self.queue) == len(self.known)
        assert set(self.queue.orgs) == {org for org in ORGS if self.waiting(org)}
        for org in ORGS:
            assert self.queue.first(org, 3) == self.waiting(org)[:3]
            assert self.queue.has(org) == any(of == org for of, _ in self.known.values())
        for key, (org, _) in self.known.items():
            assert key in self.queue
            assert self.queue.silences(key) == self.known[key][1].silences
            assert self.queue.is_called(key) == (key in self.called)
            before = [other for other in self.called if self.known[other][0] == org]
            all_of_org = len(before) + len(self.waiting(org))
            place = 1 if key in self.called else len(before) + self.waiting(org).index(key) + 1
            assert self.queue.place(key) == (place, all_of_org)


TestQueues = Queues.TestCase


@given(st.lists(st.tuples(orgs, ranks), min_size=1, max_size=40), st.data())
def test_an_organization_is_served_after_at_most_one_run_of_each_other(
    runs: list[tuple[str, Rank]], data: st.DataObject
) -> None:
    """One slot is free at a time, in some organizations or in all: at most N - 1 others go first."""
    queue = FairQueue()
    for number, (org, rank) in enumerate(runs):
        queue.put(org, f"{org}/{number}", rank)
    since_served: dict[str, Counter[str]] = {org: Counter() for org in queue.orgs}
    while queue.orgs:
        with_room = data.draw(st.sets(st.sampled_from(sorted(queue.orgs)), min_size=1))
        (key,) = queue.call(dict.fromkeys(with_room, 1), 1)
        queue.leave(key)
        served = key.split("/")[0]
        since_served[served] = Counter()
        for org in with_room - {served}:
            since_served[org][served] += 1
            assert since_served[org].most_common(1)[0][1] == 1
            assert since_served[org].total() <= len(ORGS) - 1


def test_many_organizations_without_room_cost_nothing() -> None:
    queue = FairQueue()
    for number in range(MANY_RUNS):
        rank = Rank(0, 0, T0 + timedelta(seconds=number % 977), f"run-{number}")
        queue.put(f"org-{number % MANY_ORGS}", str(number), rank)
    room = {f"org-{MANY_ORGS - 1}": 10}
    began = time.process_time()
    for _ in range(1_000):
        called = queue.call(room, 100)
        assert len(called) == 10
        for key in called:
            queue.again(key)
    # 10,000 calls; a look at each organization for each of them would be 50,000,000.
    assert time.process_time() - began < 2.0
