"""Builds the SQL that copies rows into other columns, and the SQL that counts and sums them.

FLOAT becomes NUMERIC as `PARSE_NUMERIC(CAST(x AS STRING))` has it: the shortest decimal that stands for the float,
rounded half away from zero where it has more than nine decimals. A direct cast would take the float's binary value
(12345678901.1 as 12345678901.100000381). INTEGER becomes FLOAT only where that keeps every digit; any other value
fails the statement. Records and arrays are rebuilt only where something in them changes.
"""
# ruff: noqa: S608 - the identifiers come from schemas and checked configs; there are no other values

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from pipeline_runner.bigquery.columns import CHECKED, Column, by_name, dotted, leaves

# NUMERIC holds 29 digits before the point; NaN and infinities fail this comparison as well.
NUMERIC_LIMIT = "1e29"
# A float of this size or more has at most nine decimals within its 17 digits, so rounding takes nothing from it.
_ROUNDED_LIMIT = "1e7"
# A FLOAT holds every integer up to this one, and the next one not.
_WHOLE_LIMIT = 2**53

# For each column that is written: its name, and the expression that yields its value.
Values = list[tuple[str, str]]


def quoted(name: str) -> str:
    """An identifier in backticks; a table may come as project.dataset.table."""
    return f"`{name}`"


def text(value: str) -> str:
    """A string constant."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def moment(at: datetime) -> str:
    """A TIMESTAMP constant."""
    return f"TIMESTAMP '{at.astimezone(UTC).isoformat(sep=' ')}'"


def copied_columns(source: tuple[Column, ...], target: tuple[Column, ...]) -> Values:
    """For each column of `target` that `source` has: its name, and the expression that yields its value."""
    sources = by_name(source)
    pairs = [(sources[column.name.lower()], column) for column in target if column.name.lower() in sources]
    return [(column.name, _value(f"s.{quoted(origin.name)}", origin, (column,))) for origin, column in pairs]


def create(table: str, columns: Values, origin: str, expires: datetime) -> str:
    """CREATE TABLE … AS SELECT, which may be repeated; `origin` is what follows FROM, with the alias s for its rows."""
    values = ",\n  ".join(f"{value} AS {quoted(name)}" for name, value in columns)
    options = f"OPTIONS (expiration_timestamp = {moment(expires)})"
    return f"CREATE OR REPLACE TABLE {quoted(table)}\n{options} AS\nSELECT\n  {values}\nFROM {origin}"


def statistics(columns: tuple[Column, ...], money: tuple[str, ...], origin: str) -> str:
    """SELECT of one row: `row_count`, and for each leaf in `money` (dotted) its `sum_` and more, numbered.

    The sum of a FLOAT is that of its decimals, so source and staging must agree to the last digit. FLOATs have two
    more: `bad_`, how many values are out of range, and `lost_`, what rounding at nine decimals takes from their sum.
    That is near zero and only ever compared with a limit, so a float tells it well enough.
    """
    wanted = {name.lower() for name in money}
    paths = [path for path in leaves(columns) if ".".join(each.name for each in path).lower() in wanted]
    arrays = list(dict.fromkeys(array for path in paths if (array := outer_array(path))))
    sums, values = [], []
    for number, path in enumerate(paths):
        if array := outer_array(path):
            measured = f"s.array_{arrays.index(array)}"
            sums += [f"SUM({measured}.{name}) AS {name}" for name, _, _ in _measures(number, path[-1])]
        else:
            values.append(f"{leaf_value('s', path)} AS value_{number}")
            leaf = f"s.value_{number}" if arrays else leaf_value("s", path)
            sums += [f"SUM({single.format(leaf)}) AS {name}" for name, _, single in _measures(number, path[-1])]
    if arrays:
        # A subquery for each array, and not for each sum: it is what takes the time.
        values += [f"{_measured(paths, array)} AS array_{number}" for number, array in enumerate(arrays)]
        origin = f"(SELECT {', '.join(values)} FROM {origin}) AS s"
    return "SELECT\n  " + ",\n  ".join(["COUNT(*) AS row_count", *sums]) + f"\nFROM {origin}"


def _value(expression: str, origin: Column | None, path: tuple[Column, ...], depth: int = 0) -> str:
    """The value of the column at the end of `path`, from `expression`, which holds `origin`.

    `path` leads there through the target's records. None: the source has no such field.
    """
    column = path[-1]
    if origin is None:
        return f"CAST({'[]' if column.repeated else 'NULL'} AS {column.sql_type()})"
    if origin.same_shape(column):
        return expression
    if column.repeated:
        # The order of an array's elements is kept only if it is asked for.
        element, offset = f"e{depth}", f"o{depth}"
        source = f"UNNEST({expression}) AS {element} WITH OFFSET AS {offset} ORDER BY {offset}"
        if column.type == "RECORD":
            return f"ARRAY(SELECT AS STRUCT {_fields(element, origin, path, depth + 1)} FROM {source})"
        return f"ARRAY(SELECT {_cast(element, origin, path)} FROM {source})"
    if column.type == "RECORD":
        return f"IF({expression} IS NULL, NULL, STRUCT({_fields(expression, origin, path, depth)}))"
    return _cast(expression, origin, path)


def _cast(expression: str, origin: Column, path: tuple[Column, ...]) -> str:
    """A scalar of another type: FLOAT becomes an amount, and what columns.CAST and CHECKED allow loses nothing."""
    column = path[-1]
    if (origin.type, column.type) == ("FLOAT", "NUMERIC"):
        return decimal(expression)
    cast = f"CAST({expression} AS {replace(column, repeated=False).sql_type()})"
    return _whole(expression, dotted(path), cast) if (origin.type, column.type) in CHECKED else cast


def _whole(expression: str, name: str, cast: str) -> str:
    """The `cast` of an INTEGER to FLOAT; an error that names the column and the value beyond what FLOAT can hold."""
    # IF evaluates no more than what it yields, errors included; of NULL it yields the cast:
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/conditional_expressions
    expected = f"expected an integer from -{_WHOLE_LIMIT} to {_WHOLE_LIMIT} (2^53), as others lose digits"
    told = text(f"column {name} is FLOAT in the target: {expected}, got ")
    error = f"ERROR(CONCAT({told}, CAST({expression} AS STRING)))"
    return f"IF({expression} NOT BETWEEN -{_WHOLE_LIMIT} AND {_WHOLE_LIMIT}, {error}, {cast})"


def _fields(expression: str, origin: Column, path: tuple[Column, ...], depth: int) -> str:
    origins = by_name(origin.fields)
    values = []
    for field in path[-1].fields:
        found = origins.get(field.name.lower())
        inner = f"{expression}.{quoted(found.name)}" if found else expression
        values.append(f"{_value(inner, found, (*path, field), depth)} AS {quoted(field.name)}")
    return ", ".join(values)


def decimal(expression: str) -> str:
    """The NUMERIC of a FLOAT: its shortest decimal, rounded at nine decimals; an error beyond NUMERIC's range.

    A float, its shortest decimal and the product x * 1e9 differ by at most 2^-52 of their size. Where the product is
    further than that from half a unit of the ninth decimal (the limit below is twice as wide, and shuts out everything
    from a million on), all three round to one whole number of billionths, which becomes a NUMERIC exactly. What is
    left takes the way over the text; the stand-in needs a hundred times as long for it.
    """
    # a literal NUMERIC '0.000000001' would be zero to the stand-in, which gives it three decimals
    whole = f"CAST({expression} * 1e9 AS INT64) * PARSE_NUMERIC('0.000000001')"
    return f"IF({_clear(expression)}, {whole}, {_by_text(expression)})"


def addend(integer: str) -> str:
    """An INTEGER as it is summed: INTEGERs alone would be an error beyond 2^63."""
    return f"CAST({integer} AS NUMERIC)"


def _clear(expression: str) -> str:
    billionths = f"{expression} * 1e9"
    return f"ABS({billionths} - ROUND({billionths})) < 0.5 - ABS({expression}) * 5e-7"


def _by_text(expression: str) -> str:
    return f"PARSE_NUMERIC(CAST({expression} AS STRING))"


def _lost(expression: str) -> str:
    """What rounding takes from a FLOAT, as a FLOAT.

    Where the short way is exact, the billionths are a whole number below 2^53, so that a billionth of them is the
    float next to the decimal.
    """
    short = f"{expression} - ROUND({expression} * 1e9) / 1e9"
    long = f"{expression} - CAST({_by_text(expression)} AS FLOAT64)"
    return f"IF({_clear(expression)}, {short}, IF(ABS({expression}) < {_ROUNDED_LIMIT}, {long}, 0))"


def _measures(number: int, leaf: Column) -> Iterator[tuple[str, str, str]]:
    """What is measured of a leaf: a name, the aggregate of an array's elements, and the value of a single one."""
    if leaf.type != "FLOAT":
        value = addend("{0}") if leaf.type == "INTEGER" else "{0}"
        yield f"sum_{number}", f"SUM({value})", value
        return
    good = f"ABS({{0}}) < {NUMERIC_LIMIT}"
    value = f"IF({good}, {decimal('{0}')}, NULL)"
    yield f"sum_{number}", f"SUM({value})", value
    bad = f"{{0}} IS NOT NULL AND NOT ({good})"
    yield f"bad_{number}", f"COUNTIF({bad})", f"IF({bad}, 1, 0)"
    lost = _lost("{0}")
    yield f"lost_{number}", f"SUM({lost})", lost


def outer_array(path: tuple[Column, ...]) -> tuple[Column, ...]:
    """The path of the outermost array that a leaf is in; empty if it is in none."""
    return next((path[: end + 1] for end, column in enumerate(path) if column.repeated), ())


def _measured(paths: list[tuple[Column, ...]], array: tuple[Column, ...]) -> str:
    """A scalar subquery: the measures of all leaves in one array, as a struct. A join would multiply the rows."""
    fields = ", ".join(
        f"{_within('e0', path[len(array) :], aggregate)} AS {name}"
        for number, path in enumerate(paths)
        if path[: len(array)] == array
        for name, aggregate, _ in _measures(number, path[-1])
    )
    return f"(SELECT AS STRUCT {fields} FROM UNNEST({leaf_value('s', array)}) AS e0)"


def _within(element: str, path: tuple[Column, ...], aggregate: str, depth: int = 1) -> str:
    """The aggregate of a leaf over the elements of an array, which may have further arrays in them."""
    if inner := outer_array(path):
        body = _within(f"e{depth}", path[len(inner) :], aggregate, depth + 1)
        return f"SUM((SELECT {body} FROM UNNEST({leaf_value(element, inner)}) AS e{depth}))"
    return aggregate.format(leaf_value(element, path))


def leaf_value(expression: str, path: tuple[Column, ...]) -> str:
    return ".".join([expression, *(quoted(column.name) for column in path)])
