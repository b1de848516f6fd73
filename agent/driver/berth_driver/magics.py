"""Livy's magics: lines that begin with `%` in code that is no Python otherwise."""

import datetime
import decimal

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


class MagicError(Exception):
    """A magic that cannot be done; `name` is what the client sees as the error's name."""

    def __init__(self, name, text):
        super().__init__(text)
        self.name = name


def found(code):
    """True when some line is a magic."""
    return any(line.lstrip().startswith("%") for line in code.splitlines())


def run(code, execute, names):
    """Runs code with magics between ordinary lines; the result is that of the last of them."""
    bundle, plain = None, []
    for line in code.splitlines():
        if not line.lstrip().startswith("%"):
            plain.append(line)
            continue
        if plain:
            execute("\n".join(plain))
        plain = []
        bundle = one(line.strip()[1:], names)
    if any(line.strip() for line in plain):
        bundle = execute("\n".join(plain))
    return bundle


def one(line, names):
    command, _, argument = line.strip().partition(" ")
    if not command:
        raise MagicError("UnknownMagic", "magic command not specified")
    if command not in ("json", "table"):
        raise MagicError("UnknownMagic", f"unknown magic command '{command}'")
    argument = argument.strip()
    if argument not in names:
        raise MagicError("NameError", f"name '{argument}' is not defined")
    # Imported here: the interpreter imports this module.
    from berth_driver.interpreter import plain

    if command == "json":
        return {"application/json": plain(names[argument])}
    return {"application/vnd.livy.table.v1+json": table(names[argument], plain)}


def table(value, plain):
    if hasattr(value, "collect"):
        value = value.collect()
    value = value if isinstance(value, (list, tuple)) else [value]
    headers, rows = {}, []
    for row in value:
        cells = cells_of(row)
        for name, cell in cells:
            header = headers.setdefault(name, {"name": name, "type": "NULL_TYPE"})
            merge(header, cell)
        rows.append([plain(cell) for _, cell in cells])
    return {"headers": list(headers.values()), "data": rows}


def cells_of(row):
    if hasattr(row, "asDict"):
        return list(row.asDict().items())
    if isinstance(row, dict):
        return [(str(key), row[key]) for key in sorted(row, key=str)]
    if isinstance(row, (list, tuple)):
        return [(str(at), cell) for at, cell in enumerate(row)]
    return [("0", row)]


def merge(header, cell):
    if cell is None:
        return
    kind = next((name for types, name in TYPES if isinstance(cell, types)), "STRING_TYPE")
    if header["type"] not in ("NULL_TYPE", kind):
        raise MagicError("TypeError", "table rows have different types")
    header["type"] = kind
