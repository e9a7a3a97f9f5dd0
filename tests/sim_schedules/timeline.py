"""When operators were there, and able: intervals of true time, noted as they begin and end."""

from bisect import bisect_left
from dataclasses import dataclass, field

NEVER = float("inf")


@dataclass(slots=True)
class Intervals:
    """Disjoint, ascending; the last one may be open."""

    begins: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def put(self, on: bool, at: float) -> None:
        """From now on it is so, or not."""
        is_open = len(self.begins) > len(self.ends)
        if on and not is_open:
            self.begins.append(at)
        elif is_open and not on:
            self.ends.append(at)

    def first_within(self, at: float, *, lasting: float = 0.0, longer_by: float = 0.0) -> float:
        """The first time at or after `at` from which on it is so for `lasting` seconds; ends count as later."""
        first = max(0, bisect_left(self.ends, at - longer_by))
        for index in range(first, len(self.begins)):
            end = self.ends[index] + longer_by if index < len(self.ends) else NEVER
            begin = max(at, self.begins[index])
            if begin + lasting <= end:
                return begin
        return NEVER

    def covers(self, begin: float, end: float) -> bool:
        """Whether it was so all the time."""
        return self.first_within(begin, lasting=end - begin) == begin

    def begin_before(self, at: float) -> float:
        """When the last time that it wasn't so before `at` began; `at` itself while it was so."""
        index = bisect_left(self.ends, at) - 1
        if self.first_within(at) == at:
            return at
        return self.ends[index] if index >= 0 else 0.0

    def changes_within(self, begin: float, end: float) -> bool:
        """Whether it began or ended then."""
        return any(
            (index := bisect_left(times, begin)) < len(times) and times[index] <= end
            for times in (self.begins, self.ends)
        )


@dataclass(slots=True)
class Steps:
    """A value that changes: (since, value), ascending."""

    values: list[tuple[float, bool]]

    def put(self, value: bool, at: float) -> None:
        """From now on."""
        self.values.append((at, value))

    def at(self, moment: float) -> bool:
        """As it was then."""
        index = bisect_left(self.values, (moment, True)) - 1
        return self.values[max(0, index)][1]

    def over(self, begin: float, end: float) -> set[bool]:
        """All that it was in this time."""
        return {self.at(begin)} | {value for at, value in self.values if begin <= at <= end}
