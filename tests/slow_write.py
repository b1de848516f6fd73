"""A write that takes its time, so that a test can break something under it, and what became of it."""

import threading

from pyspark.errors import PySparkException
from pyspark.sql.functions import udf

ROWS = 400


def slow_rows(spark):
    """In one partition, 20 s long."""
    @udf("long")
    def slowly(n):
        import time
        time.sleep(0.05)
        return n
    # Made where it is called: PySpark looks for a function's session in the thread, and else takes the process's last one.
    return spark.range(0, ROWS, 1, 1).select(slowly("id").alias("n"))


def copies(spark, table):
    """How many times the rows are in a table."""
    return spark.table(table).count() // ROWS


class Writing:
    """A call that writes, in a thread of its own; `told` is what its caller was told."""

    def __init__(self, write):
        self.told = None
        self.thread = threading.Thread(target=self.run, args=(write,))
        self.thread.start()

    def run(self, write):
        try:
            write()
        except PySparkException as error:
            self.told = str(error)

    def is_told_unknown(self):
        self.thread.join(timeout=120)
        assert not self.thread.is_alive(), "the client waits on"
        assert self.told, "the client was not told"
        return "outcome" in self.told.lower() and "unknown" in self.told.lower()


def is_running(ask, user):
    """Whether the record of the user's session says that a write may have been done; `ask` runs an admin command."""
    (session,) = [row for row in ask("sessions") if row["owner"] == user]
    return any(row["kind"] == "write" and row["outcome"] == "unknown" for row in ask("explain", session["id"]))
