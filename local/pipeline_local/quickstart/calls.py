"""Calls of the HTTP API as a person would make them: by curl, shown as they would be typed."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import httpx2
from rich.console import Console

from pipeline_local.errors import LocalError

_SECONDS = 30.0


class Calls:
    """Calls of one API with one key, which is neither shown nor in an argument of a command."""

    def __init__(self, console: Console, url: str, key: str) -> None:
        self._console = console
        self._url = url
        self._key = key
        self._curl = shutil.which("curl")
        if self._curl is None:
            console.print("(no curl on this machine: the requests are made by Python)", highlight=False)

    def __call__(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, is_shown: bool = True
    ) -> dict[str, Any]:
        """Show the call and its answer, which is given as parsed JSON.

        Raises LocalError with the answer where it is no success, or where there is none.
        """
        if is_shown:
            self._say(f"$ {command_line(method, path, body)}")
        status, text = self._by_curl(method, path, body) if self._curl else self._by_python(method, path, body)
        if not 200 <= status < 300:
            raise LocalError(f"{method} {path} was answered with {status}: {text.strip()[:2000]}")
        if is_shown:
            self._say(text.strip())
        answer: dict[str, Any] = json.loads(text)
        return answer

    def _by_curl(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, str]:
        # arguments can be read by every user of the machine: the key comes by standard input
        command = [str(self._curl), "--header", "@-", *_arguments(method, body), f"{self._url}{path}"]
        more = [
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            str(_SECONDS),
            "--write-out",
            "\n%{http_code}",
        ]
        header = f"X-API-Key: {self._key}\n"
        done = subprocess.run([*command, *more], input=header, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalError(f"curl of {self._url}{path} failed: {done.stderr.strip()[-1000:]}")
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    def _by_python(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, str]:
        headers = {"X-API-Key": self._key}
        try:
            with httpx2.Client(base_url=self._url, timeout=_SECONDS, trust_env=False) as client:
                answer = client.request(method, path, json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise LocalError(f"{method} {self._url}{path} failed: {error}") from error
        return answer.status_code, answer.text

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def command_line(method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """The call as a person would type it, with the variables KEY and PIPELINES_BRIDGE_URL."""
    arguments = shlex.join(_arguments(method, body))
    return " ".join(part for part in ('curl -H "X-API-Key: $KEY"', arguments, f'"$PIPELINES_BRIDGE_URL{path}"') if part)


def _arguments(method: str, body: Mapping[str, Any] | None) -> list[str]:
    """What curl needs to be told of a call; with a body POST is its own choice."""
    if body is None:
        return [] if method == "GET" else ["-X", method]
    # not --json, which curl has learned in 2022 only
    typed = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return typed if method == "POST" else ["-X", method, *typed]
