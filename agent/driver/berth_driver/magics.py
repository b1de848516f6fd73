"""Livy's magics: lines that begin with `%` in code that is no Python otherwise."""

import base64
import datetime
import decimal
import io

from berth_driver import rows
from berth_driver.failure import Failure

TYPES = (
    (bool, "BOOLEAN_TYPE"),
    (int, "INT_TYPE"),
    (float, "DOUBLE_TYPE"),
    (str, "STRING_TYPE"),
    (datetime.datetime, "TIMESTAMP_TYPE"),
    (datetime.date, "DATE_TYPE"),
    (decimal.Decimal, "DECIMAL_TYPE"),
    (dict, "MAP_TYPE"),
    ((list, tuple), "ARRAY_TYPE"),
)


TABLE = "application/vnd.livy.table.v1+json"


def found(code):
    """True when some line is a magic."""
    return any(is_magic(line) for line in code.split("\n"))


def is_magic(line):
    return line.lstrip().startswith("%")


def run(code, read, perform, names):
    """Runs code with magics between ordinary lines; the result is that of the last of them.

    All ordinary lines are read before any is run: code that cannot be read does nothing.
    """
    parts = [(magic, text if magic else read(text)) for magic, text in split(code)]
    bundle = None
    for magic, part in parts:
        bundle = one(part, names) if magic else perform(part)
    return bundle


def split(code):
    """Magics, and the lines between them, as `(is it a magic, text)` in order."""
    plain, before = [], 0
    for number, line in enumerate(code.split("\n"), 1):
        if not is_magic(line):
            plain.append(line)
            continue
        yield from ordinary(plain, before)
        yield True, line.strip()[1:]
        plain, before = [], number
    yield from ordinary(plain, before)


def ordinary(lines, before):
    """Lines as a part of their own, if there are any. Empty ones before them keep their numbers what they are."""
    text = "\n".join(lines)
    return [(False, "\n" * before + text)] if text.strip() else []


def one(line, names):
    command, _, argument = line.strip().partition(" ")
    if not command:
        raise Failure("UnknownMagic", "magic command not specified")
    magic = {"json": as_json, "table": as_table, "matplot": as_image}.get(command)
    if magic is None:
        raise Failure("UnknownMagic", f"unknown magic command '{command}'")
    argument = argument.strip()
    if argument not in names:
        raise Failure("NameError", f"name '{argument}' is not defined")
    return magic(names[argument])


def as_json(value):
    return {"application/json": rows.value_of(value)}


def as_image(value):
    """The current figure of matplotlib's pyplot."""
    if not hasattr(value, "gcf"):
        raise Failure("TypeError", "%matplot wants the module matplotlib.pyplot, as in: %matplot plt")
    image = io.BytesIO()
    value.gcf().savefig(image, format="png")
    return {"image/png": base64.b64encode(image.getvalue()).decode()}


def as_table(value):
    """The rows of a value; those that are too much for an output are left out, as with SQL."""
    headers, data, size = {}, [], 0
    for row in rows_of(value):
        cells = cells_of(row)
        for name, cell in cells:
            header = headers.setdefault(name, {"name": name, "type": "NULL_TYPE"})
            merge(header, cell)
        data.append([rows.value_of(cell) for _, cell in cells])
        size += len(repr(data[-1]))
        if size > rows.MAX_CHARS:
            break
    return {TABLE: {"headers": list(headers.values()), "data": data}}


def rows_of(value):
    """The rows of a value; the first ones of what Spark holds."""
    if hasattr(value, "take") and hasattr(value, "collect"):
        value = value.take(rows.DEFAULT_ROWS)
    value = rows.plain(value)
    return value if isinstance(value, (list, tuple)) and not hasattr(value, "asDict") else [value]


def cells_of(row):
    """The names and values of a row."""
    return [(name, rows.plain(cell)) for name, cell in named(rows.plain(row))]


def named(row):
    if hasattr(row, "asDict"):
        return list(zip(row.__fields__, row)) if hasattr(row, "__fields__") else unnamed(row)
    if isinstance(row, dict):
        return [(str(key), row[key]) for key in sorted(row, key=str)]
    return unnamed(row) if isinstance(row, (list, tuple)) else [("0", row)]


def unnamed(row):
    return [(str(at), cell) for at, cell in enumerate(row)]


def merge(header, cell):
    if cell is None:
        return
    kind = next((name for types, name in TYPES if isinstance(cell, types)), "STRING_TYPE")
    if header["type"] not in ("NULL_TYPE", kind):
        raise Failure("TypeError", "table rows have different types")
    header["type"] = kind
