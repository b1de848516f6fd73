"""Jars and files that a session is given while it lives: put where the JVM, Python and Spark find them."""

import json
import os


class ResourceError(Exception):
    """A resource that could not be added, in words for its client."""


class Resources:
    def __init__(self, context, scala, scratch):
        self.context, self.scala = context, scala
        # Where the agent puts what clients upload.
        self.uploads = os.path.join(scratch, "resources")
        self.fetched = os.path.join(scratch, "fetched")

    def add(self, code):
        """Adds what the JSON names. Adding it again changes nothing."""
        from py4j.protocol import Py4JJavaError

        asked = json.loads(code)
        add = {"jar": self.add_jar, "pyfile": self.context.addPyFile, "file": self.context.addFile}[asked["what"]]
        try:
            add(self.path_of(asked))
        except Py4JJavaError as error:
            raise ResourceError(str(error.java_exception.toString())) from error
        return {"text/plain": ""}

    def path_of(self, asked):
        if "uri" in asked:
            return asked["uri"].removeprefix("local:")
        return os.path.join(self.uploads, asked["sha256"], asked["name"])

    def add_jar(self, path):
        """For the executors, and for the classes of this session: `_jvm` and Scala."""
        jvm, local = self.context._jvm, self.local(path)
        if not os.path.isfile(local):
            # Spark only logs that.
            raise ResourceError(f"there is no file {local} on the node")
        self.context._jsc.addJar(path)
        extend_class_path(jvm, jvm.java.io.File(local).toURI().toURL())
        self.scala.add_jar(local)

    def local(self, path):
        """The path of a jar on this node; one that is elsewhere is fetched."""
        if path.startswith(("/", "file:")):
            return path.removeprefix("file:")
        jvm = self.context._jvm
        source = jvm.org.apache.hadoop.fs.Path(path)
        os.makedirs(self.fetched, exist_ok=True)
        target = os.path.join(self.fetched, source.getName())
        files = source.getFileSystem(self.context._jsc.hadoopConfiguration())
        files.copyToLocalFile(False, source, jvm.org.apache.hadoop.fs.Path(target), True)
        return target


def extend_class_path(jvm, url):
    """Adds to the loader that Spark made for the classes of an application; all threads of the gateway have it."""
    from py4j.protocol import Py4JError

    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    while loader is not None:
        try:
            return loader.addURL(url)
        except Py4JError:
            loader = loader.getParent()
    raise ResourceError("the driver has no class loader that takes jars; put the jar into the profile's spark.jars")
