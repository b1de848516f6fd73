"""A driver that starts, warms up and ends, so that its JVM writes a class-data-sharing archive when it exits."""

import os
import sys

from berth_driver import processes, spark

EXIT_SECONDS = 300


def main(settings):
    os.nice(19)
    processes.die_with_parent(os.getppid())
    context, port = spark.start(settings["confs"])
    spark.warm_up(port, settings["token"], 1)
    jvm = context._gateway.proc
    context.stop()
    # The JVM exits, and writes the archive, when its standard input ends.
    jvm.stdin.close()
    sys.exit(jvm.wait(EXIT_SECONDS))
