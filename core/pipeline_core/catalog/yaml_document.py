"""Reads one YAML file into plain values, and remembers the line of each field.

Scalars follow YAML 1.2's core schema, so that `on`, `1:30` and `2026-01-01` stay the text that was written. What no
config needs is refused: duplicate keys, tags, merge keys, and sizes that only an attack reaches.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import yaml

from pipeline_core.catalog.problems import CatalogInvalidError, Problem
from pipeline_core.wording import FieldPath, dotted, shorten

MAX_BYTES = 256 * 1024
# Aliases are expanded, so these bound the result, not the text.
MAX_NODES = 10_000
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_INT_LIMIT = 2**63
_MAX_KEY = 100
# Checked again when a scalar is built, as an explicit tag (`!!int abc`) skips the loader's patterns.
_INT = re.compile(r"[-+]?[0-9]{1,20}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class YamlDocument:
    """A file's content as dicts, lists, str, int, float, bool and None, with the line of every field."""

    file: str
    value: object
    lines: Mapping[FieldPath, int]

    def problem(self, path: FieldPath, message: str) -> Problem:
        """A problem at `path`, on the line of the nearest field that the file has."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        return Problem(self.file, self.lines.get(known, 1), dotted(path), message)


def read_yaml(data: bytes, file: str) -> YamlDocument:
    """Parse a file's bytes; `file` is its name in errors. Raises CatalogInvalidError, and nothing else."""
    if len(data) > MAX_BYTES:
        raise CatalogInvalidError([Problem(file, 1, "", f"{len(data)} bytes; a config has at most {MAX_BYTES}")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CatalogInvalidError([Problem(file, line, "", f"not UTF-8: byte 0x{data[error.start]:02x}")]) from None
    node = _compose(text, file)
    builder = _Builder(file)
    value = builder.build(node, (), 0)
    if builder.problems:
        raise CatalogInvalidError(builder.problems)
    return YamlDocument(file, value, builder.lines)


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars. It is PyYAML's own Python: the C one overflows the stack when nested deep."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  the name and shape are PyYAML's


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", _FLOAT.pattern + r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+0123456789.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


def _compose(text: str, file: str) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.context, error.problem) if part)
        problem = Problem(file, mark.line + 1 if mark else 1, "", f"broken YAML: {message}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem(file, line, "", f"broken YAML: character U+{int(error.character):04X} isn't allowed")
    except RecursionError:
        problem = Problem(file, 1, "", f"nested deeper than {MAX_DEPTH} levels")
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # An escape such as "\U00110000" fails inside the scanner as a plain ValueError.
        problem = Problem(file, 1, "", f"broken YAML: {error}")
    else:
        if node is not None:
            return node
        problem = Problem(file, 1, "", "the file is empty")
    raise CatalogInvalidError([problem])


class _Builder:
    """Turns nodes into values; goes on after a problem, so that all of them are told at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[FieldPath, int] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def build(self, node: yaml.Node, path: FieldPath, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._give_up(node, f"more than {MAX_NODES} values, aliases expanded")
        if depth > MAX_DEPTH:
            self._give_up(node, f"nested deeper than {MAX_DEPTH} levels")
        self.lines.setdefault(path, _line(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(child, (*path, i), depth + 1) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._refuse(node, path, f"the tag {shorten(node.tag)} isn't allowed")
        return None

    def _mapping(self, node: yaml.MappingNode, path: FieldPath, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, path, 'a key must be text; put quotes around a template: "{{date}}"')
                continue
            key = key_node.value
            if len(key) > _MAX_KEY or not key.isprintable():
                self._refuse(
                    key_node, path, f"{shorten(key)} can't be a key; expected at most {_MAX_KEY} printable characters"
                )
                continue
            at = (*path, key)
            if key_node.tag == _TAG + "merge":
                self._refuse(key_node, at, "merge keys aren't allowed; write the fields out")
            elif key in result:
                self._refuse(key_node, at, f"the key is already on line {self.lines[at]}")
            else:
                self.lines[at] = _line(key_node)
                result[key] = self.build(value_node, at, depth + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> object:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        match kind:
            case "str" | "merge":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if _INT.fullmatch(text) and -_INT_LIMIT <= int(text) < _INT_LIMIT:
                return int(text)
            case "float" if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
                return float(text)
        self._refuse(node, path, f"{shorten(text)} isn't a value that a config can hold ({kind})")
        return None

    def _give_up(self, node: yaml.Node, message: str) -> NoReturn:
        # Going on would cost what the bound is there to spare.
        raise CatalogInvalidError([*self.problems, Problem(self.file, _line(node), "", message)])

    def _refuse(self, node: yaml.Node, path: FieldPath, message: str) -> None:
        self.problems.append(Problem(self.file, _line(node), dotted(path), message))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
