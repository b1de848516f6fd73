"""The interpreters of a driver: one for each kind of code, around one Spark session."""

import json
import shutil
import threading

from berth_driver import interpreter, rows, scala, text, variables
from berth_driver.failure import Failure


class Shells:
    """Runs code of every kind. Values are those of their own kind; views, tables and confs are common."""

    def __init__(self, context, session, classes):
        from pyspark.sql import SQLContext

        self.session = session
        # Code of Spark 1 asks its context for what a session has not: `setConf`, `registerDataFrameAsTable`, `cacheTable`.
        names = {"spark": session, "sc": context, "sqlContext": SQLContext(context, session)}
        self.python = interpreter.Interpreter(names)
        self.scala = scala.Scala(context, session, classes)

    def run(self, kind, code):
        """The MIME bundle of a statement; what it raises comes through."""
        bundle = self._run(kind, code)
        if "text/plain" in bundle:
            bundle["text/plain"] = text.fitted(bundle["text/plain"])
        return bundle

    def _run(self, kind, code):
        code = code.replace("\r\n", "\n")
        if kind == "spark":
            return self.scala.run(code)
        if kind == "sql":
            return rows.run(self.session, code)
        if kind == "query":
            query = json.loads(code)
            return rows.run(self.session, query["sql"], query["rows"])
        if kind == "sparkr":
            raise no_r()
        if kind == "restore":
            return {"text/plain": variables.restore(self.python.names, code)}
        return self.python.run(code)

    def effects(self, kind):
        """Outside effects of the statement that ran last, where its code was looked at rather than watched."""
        return self.scala.effects if kind == "spark" else set()

    def watch(self, kind, code):
        """Looks at the variables before a statement; None where there are none to be kept."""
        return variables.Watch(self.python.names, code) if kind == "pyspark" else None

    def complete(self, kind, code, cursor):
        """Names that the word before the cursor could become. Asked for Scala, it starts the interpreter."""
        if kind == "pyspark":
            return self.python.complete(code, cursor)
        if kind != "spark":
            return []
        if self.scala.main is None:
            threading.Thread(target=self.scala.try_start, name="scala", daemon=True).start()
            return []
        return self.scala.complete(code, cursor)

    def interrupt(self, kind, force):
        """Interrupts code that runs in the JVM; false if it runs in this process."""
        if kind != "spark":
            return False
        self.scala.interrupt(force)
        return True


def no_r():
    found = "is" if shutil.which("Rscript") else "is not"
    reason = (
        "Berth's drivers have no R interpreter, so statements of kind sparkr cannot run; use pyspark, spark or sql "
        f"(R itself {found} installed on this node; SparkR, which Spark has deprecated, is not in its Python package)"
    )
    return Failure("InterpreterError", reason)
