"""Renews the table of the kill matrix in a page, from the results of the cells that have run."""

from pathlib import Path

BEGIN, END = "<!-- kill matrix: begin -->", "<!-- kill matrix: end -->"


class KillReport:
    """Results by victim and moment; the columns are the moments, in their order."""

    def __init__(self, moments: list[str]) -> None:
        self._moments = moments
        self._results: dict[tuple[str, str], str] = {}

    def note(self, victim: str, moment: str, result: str) -> None:
        """Take note of one cell."""
        self._results[victim, moment] = result

    def renew(self, page: Path) -> None:
        """Write the results between the page's two marks; cells that haven't run keep what stood there."""
        head, rest = page.read_text().split(BEGIN)
        old, tail = rest.split(END)
        rows = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in old.strip().splitlines()[2:]]
        results = {
            (row[0], moment): cell for row in rows for moment, cell in zip(self._moments, row[1:], strict=True)
        } | self._results
        victims = list(dict.fromkeys([row[0] for row in rows] + [victim for victim, _ in self._results]))
        lines = [["victim", *self._moments], ["---"] * (len(self._moments) + 1)]
        lines += [[victim, *(results.get((victim, moment), "") for moment in self._moments)] for victim in victims]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        page.write_text(f"{head}{BEGIN}\n{table}\n{END}{tail}")
