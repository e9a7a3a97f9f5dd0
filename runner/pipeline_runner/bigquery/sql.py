"""Builds the SQL that copies rows into other columns, and the SQL that counts and sums them.

FLOAT becomes NUMERIC as `PARSE_NUMERIC(CAST(x AS STRING))` has it: the shortest decimal that stands for the float,
rounded half away from zero where it has more than nine decimals. A direct cast would take the float's binary value
(12345678901.1 as 12345678901.100000381). Records and arrays are rebuilt only where something in them changes.
"""
# ruff: noqa: S608 - the identifiers come from schemas and checked configs; there are no other values

from collections.abc import Iterator

from pipeline_runner.bigquery.columns import Column, by_name, leaves

# NUMERIC holds 29 digits before the point; NaN and infinities fail this comparison as well.
_NUMERIC_LIMIT = "1e29"
# A float of this size or more has at most nine decimals within its 17 digits, so rounding takes nothing from it.
_ROUNDED_LIMIT = "1e7"


def quoted(name: str) -> str:
    """An identifier in backticks; a table may come as project.dataset.table."""
    return f"`{name}`"


def text(value: str) -> str:
    """A string constant."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def copied_columns(source: tuple[Column, ...], target: tuple[Column, ...]) -> list[tuple[str, str]]:
    """For each column of `target` that `source` has: its name, and the expression that yields its value."""
    sources = by_name(source)
    pairs = [(sources[column.name.lower()], column) for column in target if column.name.lower() in sources]
    return [(column.name, _value(f"s.{quoted(origin.name)}", origin, column)) for origin, column in pairs]


def insert(destination: str, columns: list[tuple[str, str]], origin: str) -> str:
    """INSERT … SELECT of explicit columns; `origin` is what follows FROM, with the alias s for its rows."""
    names = ", ".join(quoted(name) for name, _ in columns)
    values = ",\n  ".join(f"{value} AS {quoted(name)}" for name, value in columns)
    return f"INSERT INTO {quoted(destination)} ({names})\nSELECT\n  {values}\nFROM {origin}"


def statistics(columns: tuple[Column, ...], money: tuple[str, ...], origin: str) -> str:
    """SELECT of one row: `row_count`, and for each leaf in `money` (dotted) its `sum_` and more, numbered.

    The sum of a FLOAT is that of its decimals, so source and staging must agree to the last digit. `bad_` is how many
    values are out of range. FLOATs have a `lost_` too: what rounding at nine decimals takes from their sum, as a FLOAT.
    It is near zero and only ever compared with a limit, so a float tells it well enough.
    """
    wanted = {name.lower() for name in money}
    paths = [path for path in leaves(columns) if ".".join(each.name for each in path).lower() in wanted]
    sums = "".join(f",\n  {expression}" for number, path in enumerate(paths) for expression in _sums(number, path))
    return f"SELECT\n  COUNT(*) AS row_count{sums}\nFROM {origin}"


def _value(expression: str, origin: Column | None, column: Column, depth: int = 0) -> str:
    """The value of `column` from `expression`, which holds `origin`; None: the source has no such field."""
    if origin is None:
        return f"CAST({'[]' if column.repeated else 'NULL'} AS {column.sql_type()})"
    if origin.same_shape(column):
        return expression
    if column.repeated:
        # The order of an array's elements is kept only if it is asked for.
        element, offset = f"e{depth}", f"o{depth}"
        source = f"UNNEST({expression}) AS {element} WITH OFFSET AS {offset} ORDER BY {offset}"
        if column.type == "RECORD":
            return f"ARRAY(SELECT AS STRUCT {_fields(element, origin, column, depth + 1)} FROM {source})"
        return f"ARRAY(SELECT {decimal(element)} FROM {source})"
    if column.type == "RECORD":
        return f"IF({expression} IS NULL, NULL, STRUCT({_fields(expression, origin, column, depth)}))"
    return decimal(expression)


def _fields(expression: str, origin: Column, column: Column, depth: int) -> str:
    origins = by_name(origin.fields)
    values = []
    for field in column.fields:
        found = origins.get(field.name.lower())
        inner = f"{expression}.{quoted(found.name)}" if found else expression
        values.append(f"{_value(inner, found, field, depth)} AS {quoted(field.name)}")
    return ", ".join(values)


def decimal(expression: str) -> str:
    """The NUMERIC of a FLOAT: its shortest decimal, rounded at nine decimals; an error beyond NUMERIC's range.

    A float, its shortest decimal and the product x * 1e9 differ by at most 2^-52 of their size. Where the product is
    further than that from half a unit of the ninth decimal (the limit below is twice as wide, and shuts out everything
    from a million on), all three round to one whole number of billionths, which becomes a NUMERIC exactly. What is
    left takes the way over the text; the stand-in needs a hundred times as long for it.
    """
    billionths = f"{expression} * 1e9"
    clear = f"ABS({billionths} - ROUND({billionths})) < 0.5 - ABS({expression}) * 5e-7"
    # a literal NUMERIC '0.000000001' would be zero to the stand-in, which gives it three decimals
    whole = f"CAST({billionths} AS INT64) * PARSE_NUMERIC('0.000000001')"
    return f"IF({clear}, {whole}, PARSE_NUMERIC(CAST({expression} AS STRING)))"


def _sums(number: int, path: tuple[Column, ...]) -> Iterator[str]:
    value, good = "{0}", "TRUE"
    if path[-1].type == "FLOAT":
        good = f"ABS({{0}}) < {_NUMERIC_LIMIT}"
        value = f"IF({good}, {decimal('{0}')}, NULL)"
    yield f"SUM({_over(path, 's', f'SUM({value})', value)}) AS sum_{number}"
    bad = f"{{0}} IS NOT NULL AND NOT ({good})"
    yield f"SUM({_over(path, 's', f'COUNTIF({bad})', f'IF({bad}, 1, 0)')}) AS bad_{number}"
    if path[-1].type == "FLOAT":
        lost = f"IF(ABS({{0}}) < {_ROUNDED_LIMIT}, {{0}} - CAST({decimal('{0}')} AS FLOAT64), 0)"
        yield f"SUM({_over(path, 's', f'SUM({lost})', lost)}) AS lost_{number}"


def _over(path: tuple[Column, ...], expression: str, aggregate: str, single: str, depth: int = 0) -> str:
    """`single` of a leaf in a record; of one in arrays `aggregate` over the elements, in a scalar subquery.

    A join with the arrays would multiply the rows instead.
    """
    column, rest = path[0], path[1:]
    here = f"{expression}.{quoted(column.name)}"
    if not column.repeated:
        return _over(rest, here, aggregate, single, depth) if rest else single.format(here)
    element = f"e{depth}"
    inside = _over(rest, element, aggregate, single, depth + 1) if rest else None
    repeated_below = any(each.repeated for each in rest)
    if inside is None:
        body = aggregate.format(element)
    elif repeated_below:
        body = f"SUM({inside})"
    else:
        leaf = ".".join([element, *(quoted(each.name) for each in rest)])
        body = aggregate.format(leaf)
    return f"(SELECT {body} FROM UNNEST({here}) AS {element})"
