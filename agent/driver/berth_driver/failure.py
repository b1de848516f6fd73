"""How a statement fails, as the client is to see it."""


class Failure(Exception):
    """An error with its name, and the lines of its traceback, given rather than taken from Python."""

    def __init__(self, name, text, trace=()):
        super().__init__(text)
        self.name = name
        self.trace = list(trace)
