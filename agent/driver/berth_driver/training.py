"""A driver that starts, warms up and ends, so that its JVM writes a class-data-sharing archive when it exits."""

import os
import sys

from berth_driver import processes, scala, spark

EXIT_SECONDS = 300


def main(settings):
    os.nice(19)
    processes.die_with_parent(os.getppid())
    classes = os.path.join(os.getcwd(), "classes")
    os.makedirs(classes, exist_ok=True)
    context, port = spark.start({**settings["confs"], "spark.repl.class.outputDir": classes})
    spark.warm_up(port, settings["token"], 1)
    # The compiler's classes make up most of the time that the interpreter of Scala takes to start.
    from pyspark.sql import SparkSession

    scala.Scala(context, SparkSession(context), classes).try_start()
    jvm = context._gateway.proc
    context.stop()
    # The JVM exits, and writes the archive, when its standard input ends.
    jvm.stdin.close()
    sys.exit(jvm.wait(EXIT_SECONDS))
