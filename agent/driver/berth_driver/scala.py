"""Spark's own Scala interpreter, asked through Py4J, in the same JVM and on the same session as Python's.

It starts when it is first used: its compiler takes seconds and some 100 MB.
"""

import threading

from berth_driver import scala_effects, scala_text, scala_values
from berth_driver.failure import Failure
from berth_driver.text import CUT, MAX_TEXT

MAX_REPORT_BYTES = 1 << 20
MAX_CANDIDATES = 200
PRELUDE = (
    "import org.apache.spark.SparkContext._\nimport spark.implicits._\nimport spark.sql\n"
    "import org.apache.spark.sql.functions._"
)


class Output:
    """A bounded stream of the JVM, emptied by reading it."""

    def __init__(self, jvm, bound):
        """`bound` is a stream that fails when it is full; others may have used it before."""
        self.bound, self.buffer = bound, jvm.java.io.ByteArrayOutputStream()
        bound.reset()
        # The bound is asked first. Its own bytes could not be read without a copy of all its room through Py4J.
        both = jvm.org.apache.commons.io.output.TeeOutputStream(bound, self.buffer)
        self.stream = jvm.java.io.PrintStream(both, True, "UTF-8")

    def take(self):
        self.stream.flush()
        text = self.buffer.toString("UTF-8")
        self.buffer.reset()
        self.bound.reset()
        return text


class Scala:
    def __init__(self, context, session, classes):
        """Nothing starts yet. `classes` is the directory that Spark gives compiled classes to executors from."""
        self.context, self.session, self.classes = context, session, classes
        self.jvm = context._jvm
        self.starting = threading.Lock()
        self.busy = threading.Lock()
        self.guard = threading.Lock()
        self.main = self.bound = self.printed = self.reported = None
        self.lines = scala_effects.Lines(classes)
        # The outside effects of the statement that ran last.
        self.effects = set()
        # The JVM's thread that runs a statement now.
        self.thread = None
        # Jars that code sees besides those that the JVM started with.
        self.jars = [jar for jar in context.getConf().get("spark.jars", "").split(",") if jar.startswith(("/", "file:"))]

    def start(self):
        """Starts the interpreter, once; whoever comes meanwhile waits."""
        with self.starting:
            if self.main is None:
                self._start()

    def add_jar(self, path):
        """Puts a jar on this node on the class path of the code that follows."""
        with self.starting:
            self.jars.append(path)
            if self.main is not None:
                self._extend(self.main, path)

    def _extend(self, main, path):
        path = path.removeprefix("file:")
        url = self.jvm.java.io.File(path).toURI().toURL()
        if url.getPath() != path:
            # It looks for such a jar under the escapes of its URL, and fails.
            print(f"berth: Scala's compiler cannot read a jar with blanks in its path: {path}", flush=True)
            return
        main.addUrlsToClassPath(self.jvm.PythonUtils.toSeq([url]).toList())

    def try_start(self):
        """Starts the interpreter ahead of its first use, which says what is wrong if this fails."""
        try:
            self.start()
        except Exception as error:
            print(f"berth: the Scala interpreter did not start: {error}", flush=True)

    def _start(self):
        jvm = self.jvm
        bounded = jvm.org.apache.hadoop.io.BoundedByteArrayOutputStream
        self.bound, reported = bounded(MAX_TEXT), Output(jvm, bounded(MAX_REPORT_BYTES))
        settings = jvm.scala.tools.nsc.Settings()
        arguments = ["-Yrepl-class-based", "-Yrepl-outdir", self.classes, "-usejavacp"]
        settings.processArguments(jvm.PythonUtils.toSeq(arguments).toList(), True)
        serializers = serializers_of(jvm, self.context)
        # Where executors live in this JVM, code must see its classes as they do, from one loader.
        executors = serializers[0].defaultClassLoader()
        if executors.isDefined():
            getattr(settings, "explicitParentLoader_$eq")(executors)
        reporter = jvm.scala.tools.nsc.interpreter.shell.ReplReporterImpl(
            settings, jvm.java.io.PrintWriter(reported.stream, True))
        main = jvm.scala.tools.nsc.interpreter.IMain(settings, reporter)
        main.initializeCompiler()
        main.ensureClassLoader()
        if executors.isEmpty():
            # What executors elsewhere send back is made of classes of the interpreter.
            for serializer in serializers:
                serializer.setDefaultClassLoader(main.classLoader())
        for path in self.jars:
            self._extend(main, path)
        transient = jvm.PythonUtils.toSeq(["@transient"]).toList()
        main.bind("spark", "org.apache.spark.sql.SparkSession", self.session._jsparkSession, transient)
        main.bind("sc", "org.apache.spark.SparkContext", self.context._jsc.sc(), transient)
        if main.interpret(PRELUDE).toString() != "Success":
            raise Failure("InterpreterError", "Fail to start interpreter", [reported.take()])
        reported.take()
        self.lines.added(defines=True)
        self.reported, self.main = reported, main

    def run(self, code):
        """Runs a statement and gives its MIME bundle."""
        self.effects = set()
        self.start()
        with self.busy, self._captured():
            bundle = {"text/plain": ""}
            parts = scala_text.split_magics(code, self._goes_on)
            # All of it is read before any of it runs.
            read = [part[1] and self._chunks(part[1], part[0] - 1) for part in parts]
            for part, chunks in zip(parts, read):
                if part[1] is None:
                    bundle = scala_values.magic(self, *part[2:])
                else:
                    bundle = {"text/plain": self._code(chunks, part[0] - 1)}
            return bundle

    def _captured(self):
        return Capturing(self)

    def _code(self, chunks, lines):
        """Runs the chunks of code that has `lines` lines of its statement before it."""
        shown, room = [], MAX_TEXT
        for offset, text, names, defines in chunks:
            outcome = self._interpret(text, defines)
            printed, reported = self.printed.take(), self.reported.take()
            if outcome == "Incomplete":
                raise Failure("Error", "incomplete statement")
            if outcome != "Success":
                raise Failure("Error", *scala_text.failed(reported, text, lines + offset))
            piece = printed + scala_text.plain_echo(reported, names)
            shown.append(piece[:room])
            room -= min(room, len(piece))
        cut = self.printed.stream.checkError() or room == 0
        return "".join(shown) + (CUT if cut else "")

    def _interpret(self, text, defines):
        try:
            return self.main.interpret(text).toString()
        finally:
            try:
                self.effects |= self.lines.added(defines)
            except (OSError, ValueError) as error:  # What cannot be seen counts as an effect.
                self.effects.add(f"scala:unknown ({error})")

    def _chunks(self, code, lines):
        trees = self._parse(code)
        if trees is None:
            report = self.reported.take()
            raise Failure("Error", *scala_text.failed(report, code, lines))
        # What it warns of, it does again when the code runs.
        self.reported.take()
        chunks = scala_text.chunks(code, trees)
        if len(chunks) > 1:
            parsed = [self._parse(text, False) for _, text, *_ in chunks]
            self.reported.take()
            if any(not trees for trees in parsed):
                # Cut at the wrong place: then all of it in one go.
                return [(0, code, [name for chunk in chunks for name in chunk[2]], all(chunk[3] for chunk in chunks))]
        return chunks

    def _goes_on(self, code):
        """True of code that ends within something, such as a string."""
        if not code.strip():
            return False
        parsed = self.main.parse(code)
        self.reported.take()
        return is_incomplete(parsed)

    def _parse(self, code, fail=True):
        """The compiler's trees of code; None if it cannot be read."""
        parsed = self.main.parse(code)
        if parsed.isLeft():
            if fail and is_incomplete(parsed):
                raise Failure("Error", "incomplete statement")
            return None
        trees = parsed.toOption().get()._1()
        return [described(trees.apply(at)) for at in range(trees.size())]

    def value(self, name):
        """The value that a name has, or the latest if the name is empty; None if there is none."""
        found = self.main.valueOfTerm(name or self.main.mostRecentVar())
        return found.get() if found.isDefined() else None

    def complete(self, code, cursor):
        """Names that the word before the cursor could become; none while a statement runs."""
        self.start()
        if not self.busy.acquire(blocking=False):
            return []
        try:
            cursor = max(0, min(cursor, len(code)))
            units = len(code[:cursor].encode("utf-16-le")) // 2
            shell = self.jvm.scala.tools.nsc.interpreter.shell
            found = shell.ReplCompletion(self.main, shell.Accumulator()).complete(code, units).candidates()
            names = [found.apply(at).name() for at in range(min(found.size(), MAX_CANDIDATES))]
            self.reported.take()
            return sorted(set(names))
        finally:
            self.busy.release()

    def interrupt(self, force):
        """Interrupts what runs now; with `force` stops its thread, where the JVM still can."""
        with self.guard:
            if self.thread is None:
                return
            self.thread.interrupt()
            if force:
                try:
                    self.thread.stop()
                except Exception:  # Newer JVMs refuse.
                    pass


class Capturing:
    """While it is entered, the calling thread's output is the interpreter's."""

    def __init__(self, scala):
        self.scala = scala

    def __enter__(self):
        scala, jvm = self.scala, self.scala.jvm
        jvm.java.lang.Thread.interrupted()
        scala.printed = Output(jvm, scala.bound)
        self.out = jvm.java.lang.System.out
        jvm.java.lang.System.setOut(scala.printed.stream)
        console(jvm).setOutDirect(scala.printed.stream)
        scala.main.setContextClassLoader()
        scala.reported.take()
        with scala.guard:
            scala.thread = jvm.java.lang.Thread.currentThread()

    def __exit__(self, *_error):
        scala, jvm = self.scala, self.scala.jvm
        with scala.guard:
            scala.thread = None
        jvm.java.lang.System.setOut(self.out)
        console(jvm).setOutDirect(self.out)
        # An interrupt that came too late is not for what comes next.
        jvm.java.lang.Thread.interrupted()


def console(jvm):
    return getattr(jvm, "scala.Console$").__getattr__("MODULE$")


def is_incomplete(parsed):
    """True of what the compiler made of code that only lacks its end."""
    return parsed.isLeft() and parsed.swap().toOption().get().toString() == "Incomplete"


def described(tree):
    kind, position = tree.getClass().getSimpleName(), tree.pos()
    name = tree.name().toString().strip() if kind == "ValDef" else ""
    return kind, position.start(), position.end(), name


def serializers_of(jvm, context):
    """Spark's serializers. Found one by one: Py4J would look at all methods of their owner, whose classes are not all
    there."""
    environment = context._jsc.sc().env()
    lookup = jvm.java.lang.invoke.MethodHandles.publicLookup()
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    load = lambda name: jvm.java.lang.Class.forName(name, False, loader)  # noqa: E731
    found = []
    for name, kind in (("serializer", "Serializer"), ("closureSerializer", "Serializer")):
        kind = jvm.java.lang.invoke.MethodType.methodType(load(f"org.apache.spark.serializer.{kind}"))
        handle = lookup.findVirtual(load("org.apache.spark.SparkEnv"), name, kind)
        found.append(handle.invokeWithArguments([environment]))
    return found
