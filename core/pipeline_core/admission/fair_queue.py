"""The order in which waiting runs are called when slots are free: first come within priority, in turn between tenants.

Between organizations it is a deficit round-robin in which every run costs the same and every turn is worth one run: an
organization that has a free slot is served after at most one run of each other organization that waits.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple


class Rank(NamedTuple):
    """Where a run stands within its organization: the smallest goes first. `unpriority` is the negated priority."""

    unpriority: int
    created_at: datetime
    name: str


class FairQueue:
    """Keys of waiting runs. A key that is called stays known, with its rank, until it has left or is put back."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Rank, str]]] = {}
        self._turns: deque[str] = deque()
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

    def has(self, org: str) -> bool:
        """Whether runs of the organization wait, called or not."""
        return org in self._waiting or org in self._called

    def is_called(self, key: str) -> bool:
        """Whether it is this run's turn to ask for a slot."""
        return key in self._known and key in self._called.get(self._known[key][0], ())

    def put(self, org: str, key: str, rank: Rank) -> None:
        """Have the run wait; one that was called and has got no slot waits again."""
        self.leave(key)
        if org not in self._waiting:
            self._waiting[org] = []
            self._turns.append(org)
        insort(self._waiting[org], (rank, key))
        self._known[key] = (org, rank)

    def again(self, key: str) -> None:
        """Have the run, which was called, wait again in its old place."""
        if key in self._known:
            org, rank = self._known[key]
            self.put(org, key, rank)

    def leave(self, key: str) -> None:
        """The run waits no longer, for whatever reason."""
        if key not in self._known:
            return
        org, rank = self._known.pop(key)
        called = self._called.get(org, set())
        if key in called:
            called.remove(key)
            if not called:
                del self._called[org]
        else:
            self._remove(org, (rank, key))

    def place(self, key: str) -> tuple[int, int]:
        """The run's place among its organization's waiting runs, from 1, and how many they are. Raises KeyError."""
        org, rank = self._known[key]
        called = len(self._called.get(org, ()))
        waiting = self._waiting.get(org, [])
        before = 0 if self.is_called(key) else called + bisect_left(waiting, (rank, key))
        return before + 1, called + len(waiting)

    def call(self, room: Mapping[str, int], most: int) -> list[str]:
        """The next runs, at most `most`, in the order in which they are to ask for a slot; `room` has the free ones.

        Runs that were called before and have not got their slots yet count as being in them.
        """
        left = {org: room.get(org, 0) - len(self._called.get(org, ())) for org in self._waiting}
        eligible = sum(slots > 0 for slots in left.values())
        called: list[str] = []
        while eligible and len(called) < most:
            org = self._turns[0]
            self._turns.rotate(-1)
            if left[org] <= 0:
                continue
            _, key = first = self._waiting[org][0]
            called.append(key)
            self._remove(org, first)
            self._called.setdefault(org, set()).add(key)
            left[org] -= 1
            if org not in self._waiting or left[org] <= 0:
                left[org] = 0
                eligible -= 1
        return called

    def _remove(self, org: str, entry: tuple[Rank, str]) -> None:
        entries = self._waiting[org]
        del entries[bisect_left(entries, entry)]
        if not entries:
            del self._waiting[org]
            self._turns.remove(org)
