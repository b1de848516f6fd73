"""A result of which the first partition comes, and the rest only when a test says so.

How much of a result lies in buffers between a driver and its client depends on the machine: gRPC widens its windows
with the speed that it sees. A test that kills in the middle of a result must not guess that.
"""

import os
import time

from pyspark.sql.functions import udf

PATIENCE = 120


class Gate:
    """Shut until it is opened; `name` is its function in SQL, which answers its argument."""

    def __init__(self, directory, name="gate"):
        self.path = str(directory / name)
        self.name = name

    def register(self, spark):
        path = self.path

        # A function within a function: what Python can import by name, the driver would look for in its own files.
        @udf("long")
        def gate(value):
            from pyspark import TaskContext

            end = time.monotonic() + PATIENCE
            while TaskContext.get().partitionId() and not os.path.exists(path):
                if time.monotonic() > end:
                    raise TimeoutError("nobody opened the gate")
                time.sleep(0.02)
            return value

        return spark.udf.register(self.name, gate)

    def open(self):
        with open(self.path, "x"):
            pass
