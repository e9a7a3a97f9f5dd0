"""Schemas as plain values: the columns of a source, those wanted in the target, and how an existing target grows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.errors import ConfigError, DataError

# The REST interface and SQL have two names for some types: ours, then SQL's.
_SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
_CANONICAL = {sql: name for name, sql in _SQL_NAMES.items()} | {"DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}
_SCALARS = frozenset(
    {"STRING", "BYTES", "INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "BOOLEAN", "TIMESTAMP", "DATE", "TIME"}
    | {"DATETIME", "GEOGRAPHY", "JSON", "INTERVAL"}
)

# An existing column's type, and the type of new values for which it is widened. BigQuery's ALTER COLUMN SET DATA TYPE
# does these, and INTEGER and NUMERIC to FLOAT64 as well, which would make exact numbers inexact for good:
# https://cloud.google.com/bigquery/docs/managing-table-schemas#change_a_columns_data_type
WIDENED = frozenset({("INTEGER", "NUMERIC"), ("INTEGER", "BIGNUMERIC"), ("NUMERIC", "BIGNUMERIC")})
# The type of new values, and the existing column's that they are cast to; a DATE becomes its first instant in UTC:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
CAST = WIDENED | {("DATE", "DATETIME"), ("DATE", "TIMESTAMP")}
# These as well, but only by an expression that refuses what would lose digits (sql.py): by itself, BigQuery would take
# any integer into a FLOAT column, rounded.
CHECKED = frozenset({("INTEGER", "FLOAT")})


def canonical(type_: str) -> str:
    """The one name of a type by which we know it, of the two that BigQuery gives some: INTEGER, not INT64."""
    return _CANONICAL.get(type_.upper(), type_.upper())


@dataclass(frozen=True)
class Column:
    """One column or field. Modes are relaxed: what is REQUIRED in the source today may be NULL tomorrow."""

    name: str
    type: str
    repeated: bool = False
    fields: tuple["Column", ...] = ()
    description: str = ""

    @classmethod
    def from_api(cls, field: Mapping[str, Any], path: str = "") -> Self:
        """Read a field of the REST interface. Raises ConfigError for a type that can't be copied."""
        here = f"{path}{field['name']}"
        type_ = canonical(field["type"])
        if type_ != "RECORD" and type_ not in _SCALARS:
            raise ConfigError(f"column {here} has the type {field['type']}, which can't be copied")
        children = tuple(cls.from_api(each, f"{here}.") for each in field.get("fields", ()))
        repeated = field.get("mode", "NULLABLE").upper() == "REPEATED"
        return cls(field["name"], type_, repeated, children, field.get("description") or "")

    def to_api(self) -> dict[str, Any]:
        """The field as the REST interface writes it."""
        field: dict[str, Any] = {"name": self.name, "type": self.type}
        field["mode"] = "REPEATED" if self.repeated else "NULLABLE"
        if self.description:
            field["description"] = self.description
        if self.fields:
            field["fields"] = [each.to_api() for each in self.fields]
        return field

    def sql_type(self, spelt: Mapping[str, str] | None = None) -> str:
        """The type in SQL, such as ARRAY<STRUCT<`name` STRING, `amount` NUMERIC>>; `spelt` spells types otherwise."""
        name = (spelt or {}).get(self.type) or _SQL_NAMES.get(self.type, self.type)
        if self.type == "RECORD":
            name += f"<{', '.join(f'`{each.name}` {each.sql_type(spelt)}' for each in self.fields)}>"
        return f"ARRAY<{name}>" if self.repeated else name

    @property
    def kind(self) -> str:
        """The type as people name it: REPEATED RECORD, FLOAT."""
        return f"REPEATED {self.type}" if self.repeated else self.type

    def same_shape(self, other: "Column") -> bool:
        """Whether a value of one can stand in the other as it is: same types and names, in the same order."""
        return (
            (self.type, self.repeated, self.name.lower()) == (other.type, other.repeated, other.name.lower())
            and len(self.fields) == len(other.fields)
            and all(mine.same_shape(theirs) for mine, theirs in zip(self.fields, other.fields, strict=True))
        )


class Described(Protocol):
    """A table as Google's client gives it."""

    def to_api_repr(self) -> dict[str, Any]:
        """The table as the REST interface writes it."""


def of_table(table: Described) -> tuple[Column, ...]:
    """The columns of a table. Raises ConfigError for a type that can't be copied."""
    return tuple(Column.from_api(field) for field in table.to_api_repr().get("schema", {}).get("fields", ()))


def fields(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """The columns as Google's client takes them."""
    return [bigquery.SchemaField.from_api_repr(column.to_api()) for column in columns]


def by_name(columns: Iterable[Column]) -> dict[str, Column]:
    """Columns by lower-case name: BigQuery's names ignore case."""
    return {column.name.lower(): column for column in columns}


def parameters(field: Mapping[str, Any]) -> str:
    """What a field of the REST interface has behind its type in SQL: (10, 2) of NUMERIC(10, 2), or nothing."""
    given = [str(field[name]) for name in ("maxLength", "precision", "scale") if field.get(name)]
    return f"({', '.join(given)})" if given else ""


def leaves(columns: Iterable[Column], path: tuple[Column, ...] = ()) -> Iterator[tuple[Column, ...]]:
    """Every column that isn't a record, as the chain of columns that leads to it."""
    for column in columns:
        here = (*path, column)
        if column.type == "RECORD":
            yield from leaves(column.fields, here)
        else:
            yield here


def dotted(path: Iterable[Column]) -> str:
    """The name of a leaf as people write it: credits.amount."""
    return ".".join(column.name for column in path)


def grown(fields: Iterable[Mapping[str, Any]], wanted: tuple[Column, ...]) -> list[dict[str, Any]]:
    """A table's schema as the REST interface wrote it, with what is new in `wanted` appended, in records as well.

    Nothing else changes: precision, policy tags, REQUIRED and whatever else a field has would be lost in a Column.
    """
    pending = by_name(wanted)
    result = []
    for field in map(dict, fields):
        new = pending.pop(field["name"].lower(), None)
        if new is not None and new.fields:
            field["fields"] = grown(field.get("fields", ()), new.fields)
        result.append(field)
    return [*result, *(column.to_api() for column in pending.values())]


class ColumnConflictError(DataError):
    """A column of the target can't take the values that are wanted; `column` is its dotted name."""

    def __init__(self, column: str, existing: Column, wanted: Column) -> None:
        super().__init__(f"the target's column {column} is {existing.kind}, but the source's is now {wanted.kind}")
        self.column = column


def merge(
    existing: tuple[Column, ...], wanted: tuple[Column, ...], where: str = "", *,
    cast: Collection[tuple[str, str]] = CAST | CHECKED,
) -> tuple[Column, ...]:  # fmt: skip
    """The existing columns in their order, grown by the wanted ones that are new, records inside included.

    A column is widened where the wanted type holds more (WIDENED), and stays as it is where values are `cast` to its
    own. Raises ColumnConflictError where it is neither, naming the column and both types.
    """
    pending = by_name(wanted)
    merged = []
    for column in existing:
        new = pending.pop(column.name.lower(), None)
        if new is None:
            merged.append(column)
            continue
        path = f"{where}{column.name}"
        if new.repeated != column.repeated:
            raise ColumnConflictError(path, column, new)
        if new.type == column.type or (new.type, column.type) in cast:
            merged.append(replace(column, fields=merge(column.fields, new.fields, f"{path}.", cast=cast)))
        elif (column.type, new.type) in WIDENED:
            merged.append(replace(column, type=new.type))
        else:
            raise ColumnConflictError(path, column, new)
    return (*merged, *pending.values())
