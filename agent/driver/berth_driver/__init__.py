"""The driver host: the processes that Berth's agent runs beside each Spark driver JVM."""
