"""The order in which waiting runs are called when slots are free: first come within priority, in turn between tenants.

Between organizations it is a deficit round-robin in which every run costs the same and every turn is worth one run: the
organization whose last turn is longest ago goes first. One that waits and has a free slot is served after at most one
run of each other organization that began to wait before it or had its last turn before it, and none of the others.
"""

import heapq
from bisect import bisect_left, insort
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple


class Rank(NamedTuple):
    """Where a run stands within its organization: the smallest goes first. `unpriority` is the negated priority.

    `silences` is how often it was called in vain: one that can't ask for its slot must not hold up the others.
    """

    silences: int
    unpriority: int
    created_at: datetime
    name: str


class FairQueue:
    """Keys of waiting runs. A key that is called stays known, with its rank, until it has left or is put back."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Rank, str]]] = {}
        # When each organization with runs to be called had its last turn, or came: a count that only grows.
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._known: dict[str, tuple[str, Rank]] = {}
        self._called: dict[str, set[str]] = {}

    def __len__(self) -> int:
        """How many runs wait, called or not."""
        return len(self._known)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    @property
    def orgs(self) -> Collection[str]:
        """The organizations that have runs to be called."""
        return self._waiting.keys()

    def first(self, org: str, most: int) -> list[str]:
        """The organization's runs that would be called next, in their order."""
        return [key for _, key in self._waiting.get(org, ())[:most]]

    def has(self, org: str) -> bool:
        """Whether runs of the organization wait, called or not."""
        return org in self._waiting or org in self._called

    def is_called(self, key: str) -> bool:
        """Whether it is this run's turn to ask for a slot."""
        return key in self._known and key in self._called.get(self._known[key][0], ())

    def silences(self, key: str) -> int:
        """How often the run was called in vain; 0 if it doesn't wait."""
        return self._known[key][1].silences if key in self._known else 0

    def put(self, org: str, key: str, rank: Rank) -> None:
        """Have the run wait, of this rank from now on; one that was called and has got no slot waits again."""
        if self._known.get(key) == (org, rank) and not self.is_called(key):
            return
        self.leave(key)
        if org not in self._waiting:
            self._waiting[org] = []
            self._take_turn(org)
        insort(self._waiting[org], (rank, key))
        self._known[key] = (org, rank)

    def again(self, key: str) -> None:
        """Have the run, which was called in vain, wait again, behind those that were called less often."""
        if key in self._known:
            org, rank = self._known[key]
            self.put(org, key, rank._replace(silences=rank.silences + 1))

    def leave(self, key: str) -> str | None:
        """The run waits no longer, for whatever reason. Returns the organization that it has waited for, if it has."""
        if key not in self._known:
            return None
        org, rank = self._known.pop(key)
        called = self._called.get(org, set())
        if key in called:
            called.remove(key)
            if not called:
                del self._called[org]
        else:
            self._remove(org, (rank, key))
        return org

    def place(self, key: str) -> tuple[int, int]:
        """The run's place among its organization's waiting runs, from 1, and how many they are. Raises KeyError."""
        org, rank = self._known[key]
        called = len(self._called.get(org, ()))
        waiting = self._waiting.get(org, [])
        before = 0 if self.is_called(key) else called + bisect_left(waiting, (rank, key))
        return before + 1, called + len(waiting)

    def call(self, room: Mapping[str, int], most: int) -> list[str]:
        """The next runs, at most `most`, in the order in which they are to ask for a slot; `room` has the free ones.

        Runs that were called before and have not got their slots yet count as being in them. It takes as long as there
        are organizations in `room`, however many wait without any.
        """
        left = {org: slots - len(self._called.get(org, ())) for org, slots in room.items() if org in self._waiting}
        turns = [(self._turns[org], org) for org, slots in left.items() if slots > 0]
        heapq.heapify(turns)
        called: list[str] = []
        while turns and len(called) < most:
            _, org = heapq.heappop(turns)
            _, key = self._waiting[org][0]
            called.append(key)
            self.call_one(key)
            left[org] -= 1
            if left[org] > 0 and org in self._waiting:
                heapq.heappush(turns, (self._turns[org], org))
        return called

    def call_one(self, key: str) -> None:
        """It is this run's turn, whoever else waits; no other's if it waits no longer."""
        if key not in self._known or self.is_called(key):
            return
        org, rank = self._known[key]
        self._take_turn(org)
        self._remove(org, (rank, key))
        self._called.setdefault(org, set()).add(key)

    def _take_turn(self, org: str) -> None:
        self._turn += 1
        self._turns[org] = self._turn

    def _remove(self, org: str, entry: tuple[Rank, str]) -> None:
        entries = self._waiting[org]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del self._waiting[org]
            del self._turns[org]
