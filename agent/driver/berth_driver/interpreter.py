"""A Python interpreter that runs one statement after the other in one namespace, and SQL beside it."""

import ast
import builtins
import contextlib
import datetime
import decimal
import io
import linecache
import sys
import traceback
import types

from berth_driver import magics

MAX_TEXT = 1 << 20
MAX_ROWS = 1000
CUT = "\n... (output cut by Berth)"


class Capture(io.TextIOBase):
    """Takes what is printed, up to a limit."""

    def __init__(self):
        self.parts = []
        self.length = 0

    def writable(self):
        return True

    def write(self, text):
        room = MAX_TEXT - self.length
        if room > 0:
            self.parts.append(text[:room])
            self.length += len(text)
            if self.length > MAX_TEXT:
                self.parts.append(CUT)
        return len(text)

    def text(self):
        return "".join(self.parts)


class Interpreter:
    def __init__(self, names):
        module = types.ModuleType("__main__")
        module.__dict__.update(names)
        # Code may import or pickle by the name of its own module.
        sys.modules["__main__"] = module
        self.names = module.__dict__
        self.count = 0

    def run(self, code):
        """Runs Python and gives its MIME bundle; what the code raises comes through."""
        self.count += 1
        name = f"<statement-{self.count}>"
        # Tracebacks quote the source from here.
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        capture = Capture()
        with contextlib.redirect_stdout(capture):
            bundle = self._execute(code, name)
        if bundle is not None:
            return bundle
        return {"text/plain": capture.text().rstrip("\n")}

    def _execute(self, code, name):
        try:
            tree = ast.parse(code, name)
        except SyntaxError:
            if magics.found(code):
                return magics.run(code, lambda part: self._execute(part, name), self.names)
            raise
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec"), self.names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), name, "eval"), self.names)
            if value is not None:
                builtins._ = value
                print(repr(value)[:MAX_TEXT])
        return None

    def complete(self, code, cursor):
        """Names that the word before the cursor could become."""
        import rlcompleter

        head = code[:cursor]
        at = len(head)
        while at and (head[at - 1].isalnum() or head[at - 1] in "_."):
            at -= 1
        completer, found = rlcompleter.Completer(self.names), []
        while len(found) < 200:
            candidate = completer.complete(head[at:], len(found))
            if candidate is None or not head[at:]:
                break
            found.append(candidate)
        return found


def run_sql(spark, code):
    """Runs SQL and gives the MIME bundle that Livy has for it."""
    result = spark.sql(code)
    rows = result.take(MAX_ROWS)
    data, size = [], 0
    for row in rows:
        data.append([plain(value) for value in row])
        size += len(repr(data[-1]))
        if size > MAX_TEXT * 4:
            break
    return {"application/json": {"schema": result.schema.jsonValue(), "data": data}}


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def describe_error(error):
    """Name, text and traceback of an error, without the frames of this program."""
    if isinstance(error, magics.MagicError):
        return error.name, str(error), []
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<statement-"):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace, limit=50)
    return type(error).__name__, cut(str(error)), [cut(line) for line in lines]


def cut(text):
    return text if len(text) <= MAX_TEXT // 4 else text[: MAX_TEXT // 4] + CUT
