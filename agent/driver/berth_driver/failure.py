"""How a statement fails, as the client is to see it."""

import traceback

# What Python's own tracebacks have in the place of a text that cannot be had.
NO_TEXT = "<exception str() failed>"


class Failure(Exception):
    """An error with its name, and the lines of its traceback, given rather than taken from Python."""

    def __init__(self, name, text, trace=()):
        super().__init__(text)
        self.name = name
        self.trace = list(trace)


def name_of(error):
    """The name of an error's class, whatever its metaclass calls it: always text."""
    return type.__dict__["__name__"].__get__(type(error))


def text_of(error):
    """The text of an error. Its `__str__` is code of the user's: it may fail, or give something else."""
    try:
        return str(error)
    except Exception:
        return NO_TEXT


def lines_of(error, trace, most):
    """An error's traceback with its causes, as Python shows it; its name and text where it breaks even that."""
    try:
        return traceback.format_exception(type(error), error, trace, limit=most)
    except Exception:
        return [f"{name_of(error)}: {text_of(error)}\n"]
