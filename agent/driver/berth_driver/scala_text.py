"""The text around Spark's Scala interpreter: what goes in piece by piece, and what comes out as Livy shows it.

Positions of the compiler count UTF-16 units, so code is cut as such.
"""

import re

MAGIC = re.compile(r"^\s*%([A-Za-z]\w*)?(?:[ \t]+(\S.*))?$")
# Trees of the compiler that only define: nothing of them runs until they are used.
DEFINITIONS = {"ClassDef", "ModuleDef", "DefDef", "TypeDef", "Import", "PackageDef"}
DIAGNOSTIC = re.compile(r"^(?:On line (\d+): |\s*)(error|warning): (.*)$")
ECHO = r"^(?:implicit )?(?:lazy )?va[lr] (%s: )"
MAX_LINES = 300
CARET = re.compile(r"^\s*\^$")


def split_magics(code, goes_on):
    """Code between magics, and magics: `(first line, text)` and `(line, None, name, argument)`, in order.

    `goes_on` says of code whether it ends within something, such as a string or parentheses: no magic can follow it.
    The compiler would take a magic for an expression of its own, so it cannot be asked whether a line is one.
    """
    parts, plain, first = [], [], 1
    for number, line in enumerate(code.split("\n"), 1):
        magic = MAGIC.match(line)
        if not magic or goes_on("\n".join(plain)):
            plain.append(line)
            continue
        parts.append((first, "\n".join(plain)))
        parts.append((number, None, magic[1] or "", (magic[2] or "").strip()))
        plain, first = [], number + 1
    parts.append((first, "\n".join(plain)))
    return [part for part in parts if part[1] is None or part[1].strip()]


def chunks(code, trees):
    """Cuts code into `(lines before, text, names, only defines)`: what is interpreted in one go.

    `trees` are the compiler's: `(class, start, end, name)`. Each expression and value is a chunk of its own, so that
    what comes before an error has been done; definitions that follow each other are one, so that a class has its
    companion.
    """
    units = code.encode("utf-16-le")
    text = lambda start, end: units[2 * start : 2 * end].decode("utf-16-le")  # noqa: E731
    total, spans = len(units) // 2, []
    for kind, start, end, name in trees:
        defines = kind in DEFINITIONS
        names = [name] if kind == "ValDef" else []
        if spans and (start < spans[-1][0] or (defines and spans[-1][1])):
            # A pattern is several trees at one place.
            spans[-1] = (max(end, spans[-1][0]), spans[-1][1] and defines, spans[-1][2] + names)
        else:
            spans.append((end, defines, names))
    cut, at = [], 0
    for position, (end, defines, names) in enumerate(spans):
        # The tree of what stands in parentheses ends before they do.
        end += len(re.match(r"(?:[\s]*\))*", text(end, total))[0])
        end = total if position == len(spans) - 1 else end
        piece = text(at, end)
        body = piece.lstrip(" \t\r\n;")
        lines = text(0, at).count("\n") + piece[: len(piece) - len(body)].count("\n")
        cut.append((lines, body, names, defines))
        at = end
    return cut


def plain_echo(echo, names):
    """The interpreter's echo as Livy shows it: `x: Int = 1`, where Scala 2.13 says `val x: Int = 1`."""
    for name in [*names, r"res\d+"]:
        pattern = re.escape(name) if name in names else name
        echo = re.sub(ECHO % pattern, r"\1", echo, count=1, flags=re.MULTILINE)
    return echo.replace(" // unevaluated", " = <lazy>")


def failed(report, code, lines=0):
    """Value and traceback of what the interpreter reports: the compiler's errors, or an exception.

    `code` is what it was given; `lines` come before it in the statement.
    """
    shown, pending = [], []
    for line in report.rstrip().splitlines():
        diagnostic = DIAGNOSTIC.match(line)
        if not diagnostic:
            pending.append(line)
            continue
        number = int(diagnostic[1] or 1)
        place = f"<console>:{number + lines}: {diagnostic[2]}: {diagnostic[3]}"
        # The compiler shows the place before the message, and the line itself only when there are several.
        where = place_of(pending, code, number)
        shown += pending + [place] + where
        pending = []
    shown += pending
    # Warnings come before the error that counts.
    errors = (at for at, line in enumerate(shown) if line.startswith("<console>:") and ": error: " in line)
    first = next(errors, 0)
    shown = shown[first:] + shown[:first]
    shown = shown or ["the interpreter failed"]
    return shown[0].strip(), [line + "\n" for line in shown[1:MAX_LINES]]


def place_of(pending, code, number):
    """Takes the lines that show a place off the end of `pending`; gives the line of code and its caret."""
    if not pending or not CARET.match(pending[-1]):
        return []
    caret = pending.pop()
    source = code.splitlines()
    line = "       " + source[number - 1] if 0 < number <= len(source) else None
    if pending and line is not None and pending[-1].strip() == line.strip():
        pending.pop()
    return [caret] if line is None else [line, caret]
