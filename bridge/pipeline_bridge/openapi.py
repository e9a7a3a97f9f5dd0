"""`python -m pipeline_bridge.openapi` writes docs/openapi.json; with --check it fails where that isn't up to date."""

import argparse
import json
import sys
from pathlib import Path

from pipeline_bridge.app import BridgeApp

_DOCUMENT = Path("docs/openapi.json")


def text() -> str:
    """The description of the API, in one form only."""
    return json.dumps(BridgeApp().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the document; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline_bridge.openapi", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only look whether the file is up to date")
    parser.add_argument("file", nargs="?", type=Path, default=_DOCUMENT, help=f"by default {_DOCUMENT}")
    given = parser.parse_args(arguments)
    document = text()
    if not given.check:
        given.file.write_text(document)
        return 0
    if given.file.is_file() and given.file.read_text() == document:
        return 0
    sys.stderr.write(f"{given.file} isn't what the endpoints say: run `make sync`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
