"""docs/api.md as a client would follow it: its requests, and whether answers are those that it shows.

What differs each time stands for itself: a run's id, a schedule's id, a cursor, a request id or an ETag on the page is
a name for the real one, which takes its place in all that follows, and a time is any time. All else must be equal.
"""

import difflib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from string import Template
from typing import Any

import httpx2

_BLOCK = re.compile(r"^```(sh|http)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Names, by form. A time, or a number of a header in _COUNTS, is none: two of them may be equal, or not.
_FORMS = {
    "run": r"run_[0-9a-f]{32}",
    "schedule": r"sch_[0-9a-f]{32}",
    "cursor": r"(?<![\w-])[A-Za-z0-9_-]{71}(?![\w-])",
    "id": r"(?<![0-9a-f_])[0-9a-f]{32}(?![0-9a-f])",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z",
}
_TOKEN = re.compile("|".join(f"(?P<{name}>{form})" for name, form in _FORMS.items()))
_COUNTS = {"ratelimit", "retry-after"}
# Where a run stands when it is asked to cancel is a matter of the moment.
_LIVE = re.compile(r'(?<=\{"status": ")(?:pending|validating|running|processing)(?=", "success": true\})')


@dataclass(frozen=True)
class Step:
    """A request of the page and the answer that it shows; `line` is that of the request."""

    line: int
    request: str
    status: str
    headers: Mapping[str, str]
    body: str

    @property
    def name(self) -> str:
        """For the reports of tests."""
        return f"line {self.line}"


@dataclass
class Page:
    """The page's names for what is real, so far; `values` are those known beforehand."""

    values: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def real(self, text: str) -> str:
        """The page's text with what is real in place of its names."""
        if self.values:
            # All at once: a real day may be another one of the page.
            shown = re.compile("|".join(map(re.escape, self.values)))
            text = shown.sub(lambda found: self.values[found[0]], text)
        return _TOKEN.sub(lambda found: self.names.get(found[0], found[0]), text)

    def request(self, step: Step, environment: Mapping[str, str]) -> httpx2.Request:
        """The request that curl would send. Raises ValueError for an option that isn't known here."""
        words = iter(shlex.split(self.real(step.request).replace("\\\n", " "))[1:])
        method, url, headers, content = "", "", {}, None
        for word in words:
            match word:
                case "-i" | "-N":
                    pass
                case "-X":
                    method = next(words)
                case "-H":
                    name, _, value = Template(next(words)).substitute(environment).partition(": ")
                    headers[name] = value
                case "--json":
                    content = next(words)
                    headers |= {"Content-Type": "application/json", "Accept": "application/json"}
                case _ if word.startswith("-"):
                    raise ValueError(f"{step.name}: option {word}")
                case _:
                    url = Template(word).substitute(environment)
        return httpx2.Request(method or ("POST" if content else "GET"), url, headers=headers, content=content)

    def difference(self, step: Step, answer: httpx2.Response) -> str | None:
        """What differs between the answer and the page, as a diff; None, and new names are learnt, if nothing does."""
        shown, given = _text(step, step.headers, step.body), _text(step, answer.headers, answer.text)
        expected = f"HTTP/1.1 {step.status}\n{self.real(shown)}"
        found = f"{answer.http_version} {answer.status_code} {answer.reason_phrase}\n{given}"
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            expected, found = _events(expected, found)
        learnt = self._match(expected, found)
        if learnt is None:
            lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "page", "answer", lineterm="")
            return "\n".join(lines)
        self.names |= learnt
        return None

    def _match(self, expected: str, found: str) -> dict[str, str] | None:
        """The new names in a text that is as expected."""
        theirs = list(_TOKEN.finditer(found))
        ours = list(_TOKEN.finditer(expected))
        if [_TOKEN.sub("", expected)] != [_TOKEN.sub("", found)] or len(ours) != len(theirs):
            return None
        learnt: dict[str, str] = {}
        known = set(self.names.values())
        for shown, real in zip(ours, theirs, strict=True):
            if shown.lastgroup != real.lastgroup or _between(expected, ours, shown) != _between(found, theirs, real):
                return None
            if shown.lastgroup == "time" or shown[0] == real[0] in known:
                continue
            if learnt.setdefault(shown[0], real[0]) != real[0] or shown[0] in known or real[0] in known:
                return None  # another one than before, or one that has another name
        return learnt if len(set(learnt.values())) == len(learnt) else None


def is_a_name(text: str, begin: int, end: int) -> bool:
    """Whether what stands there is part of a name, or a time."""
    return any(each.start() < end and begin < each.end() for each in _TOKEN.finditer(text))


def read_steps(text: str) -> Iterator[Step]:
    """The page's requests, each with its answer. Raises ValueError for one without."""
    request: tuple[int, str] | None = None
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 2
        if block[1] == "http":
            if request is None:
                raise ValueError(f"line {line}: an answer to nothing")
            yield _step(*request, block[2])
            request = None
        elif block[2].startswith("curl"):
            if request is not None:
                raise ValueError(f"line {request[0]}: a request without an answer")
            request = line, block[2]
    if request is not None:
        raise ValueError(f"line {request[0]}: a request without an answer")


def _step(line: int, request: str, answer: str) -> Step:
    head, _, body = answer.partition("\n\n")
    first, *fields = head.splitlines()
    version, _, status = first.partition(" ")
    if version != "HTTP/1.1":
        raise ValueError(f"line {line}: the answer begins with {first!r}")
    return Step(line, request, status, dict(each.split(": ", 1) for each in fields), body)


def _text(step: Step, headers: Mapping[str, str], body: str) -> str:
    """The headers that the page shows, and the body, in one form for both sides."""
    values = {name.lower(): value for name, value in headers.items()}
    lines = []
    for name in sorted(each.lower() for each in step.headers):
        value = values.get(name, "(absent)")
        lines.append(f"{name}: {re.sub(r'=?[0-9]+', '#', value) if name in _COUNTS else value}")
    return "\n".join([*lines, "", *_body(values.get("content-type", ""), body)])


def _body(content_type: str, body: str) -> list[str]:
    parsed = _parsed(body) if "json" in content_type else None
    if parsed is None:
        # Of a line of a log the order of its fields means nothing, either.
        lines = [(line, _parsed(line)) for line in body.strip().splitlines()]
        return [line if found is None else json.dumps(found, sort_keys=True) for line, found in lines]
    one_line = _LIVE.sub("(not over)", json.dumps(parsed, sort_keys=True))
    if "(not over)" in one_line:
        return [one_line]
    return json.dumps(parsed, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _parsed(text: str) -> dict[str, Any] | None:
    """A JSON object; None where the text isn't one."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _events(expected: str, found: str) -> tuple[str, str]:
    """Both streams without what is a matter of the moment: ids, the progress so far, and phases that only one tells."""
    streams = []
    for text in (expected, found):
        head, *events = re.sub(r"(?m)^id: \d+\.\d+$", "id: #", text).split("\n\n")
        events = [re.sub(r'("status":"(?:running|processing)","progress":)\d+', r"\1#", each) for each in events]
        events = [each for each in events if not each.startswith(":")]
        by_word = {re.search(r'"status":"(\w+)"', each)[1]: each for each in events}  # type: ignore[index]
        streams.append((head, by_word))
    (_, ours), (_, theirs) = streams
    both = [word for word in ours if word in theirs]
    last = list(ours)[-1:] + list(theirs)[-1:]
    texts = ["\n\n".join([head, *(events[word] for word in dict.fromkeys((*both, *last)) if word in events)])
             for head, events in streams]  # fmt: skip
    return texts[0], texts[1]


def _between(text: str, tokens: list[re.Match[str]], token: re.Match[str]) -> str:
    """What stands between this token and the one before it."""
    index = tokens.index(token)
    return text[tokens[index - 1].end() if index else 0 : token.start()]
