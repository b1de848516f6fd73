"""A Python interpreter that runs one statement after the other in one namespace."""

import ast
import builtins
import contextlib
import io
import linecache
import sys
import types
import warnings

from berth_driver import magics
from berth_driver.failure import Failure, lines_of, name_of, text_of
from berth_driver.text import CUT, MAX_TEXT

MAX_FRAMES = 50
MAX_ERROR_TEXT = 1 << 18


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


def warn_in_log(message, category, filename, lineno, file=None, line=None):
    """Keeps warnings out of outputs: clients read these, and what a library warns of is none of a statement's."""
    print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.__stderr__)


class Interpreter:
    def __init__(self, names):
        module = types.ModuleType("__main__")
        module.__dict__.update(names)
        # Code may import or pickle by the name of its own module.
        sys.modules["__main__"] = module
        self.names = module.__dict__
        self.count = 0
        warnings.showwarning = warn_in_log

    def run(self, code):
        """Runs Python and gives its MIME bundle; what the code raises comes through."""
        self.count += 1
        name = f"<statement-{self.count}>"
        # Tracebacks quote the source from here.
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        out, err = Capture(), Capture()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            bundle = self._execute(code, name)
        if bundle is not None:
            return bundle
        return {"text/plain": (out.text() + err.text()).rstrip()}

    def _execute(self, code, name):
        tree = read(code, name)
        if tree is None:
            return magics.run(code, lambda part: compiled(ast.parse(part, name), name), self._perform, self.names)
        return self._perform(compiled(tree, name))

    def _perform(self, parts):
        body, last = parts
        exec(body, self.names)
        value = eval(last, self.names) if last else None
        if value is not None:
            builtins._ = value
            print(repr(value)[:MAX_TEXT])

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


def read(code, name):
    """The syntax tree of code; None of code that is only to be read with its magics."""
    try:
        return ast.parse(code, name)
    except SyntaxError:
        if magics.found(code):
            return None
        raise


def compiled(tree, name):
    """The code of a tree, and that of the expression at its end or None: both are there before any of it runs."""
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, name, "exec")
    return body, last and compile(ast.Expression(last.value), name, "eval")


def describe_error(error):
    """Name, text and traceback of an error, without the frames of this program."""
    name, text = name_of(error), text_of(error)
    if isinstance(error, Failure):
        return error.name, cut(text), [cut(line) for line in error.trace]
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<statement-"):
        trace = trace.tb_next
    if isinstance(error, NameError) and trace is not None and trace.tb_next is None:
        # Of a name that is not known at the top level, the name says it all, and Livy no more than that.
        lines = ["Traceback (most recent call last):\n", f"{name}: {text}\n"]
    else:
        lines = lines_of(error, trace, MAX_FRAMES)
    return name, cut(text), [cut(line) for line in lines]


def cut(text):
    return text if len(text) <= MAX_ERROR_TEXT else text[:MAX_ERROR_TEXT] + CUT
