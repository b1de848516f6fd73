"""Jobs of Livy's Java client: Java objects, read and written by the client's own library where the driver has it.

Nothing of a job passes through Python, which does not tell an `Integer` from a `Long`: what is called in the JVM is put
together from method handles there.
"""

SERIALIZER = "org.apache.livy.client.common.Serializer"
CONTEXT = "org.apache.livy.JobContext"
OBJECT = "Ljava/lang/Object;"
OBJECT_CLASS = "java.lang.Object"


class LivyIsMissing(Exception):
    """The driver has no library to read the job with."""


class JavaJobs:
    def __init__(self, session, directory):
        self.session = session
        self.jvm = session.sparkContext._jvm
        self.gateway = session.sparkContext._gateway
        # Makes the directory that jobs are told of when the first one comes.
        self.directory = directory
        self.shared = None
        self.handles = self.jvm.java.lang.invoke.MethodHandles

    def run(self, job):
        """Runs a serialised job; gives its serialised result, or None where it has none."""
        serializer = self.new_serializer()
        loaded = serializer.deserialize(self.jvm.java.nio.ByteBuffer.wrap(job))
        call = self.virtual("org.apache.livy.Job", "call", f"(L{CONTEXT.replace('.', '/')};){OBJECT}")
        write = self.virtual(SERIALIZER, "serialize", f"({OBJECT})Ljava/nio/ByteBuffer;").bindTo(serializer)
        write = write.asType(self.type_of(f"({OBJECT}){OBJECT}"))
        nothing = self.handles.dropArguments(self.constant(None), 0, self.classes(OBJECT_CLASS))
        is_none = self.static("java.util.Objects", "isNull", f"({OBJECT})Z")
        write = self.handles.guardWithTest(is_none, nothing, write)
        written = self.handles.filterReturnValue(call, write).invokeWithArguments(
            self.jvm.java.util.Arrays.asList(self.array(OBJECT_CLASS, loaded, self.context())))
        if written is None:
            return None
        return bytes(self.jvm.org.apache.livy.client.common.BufferUtils.toByteArray(written))

    def new_serializer(self):
        from py4j.protocol import Py4JJavaError

        try:
            self.class_of(CONTEXT)
            made = self.class_of(SERIALIZER).getConstructors()[0]
        except Py4JJavaError as error:
            raise LivyIsMissing(
                f"this driver cannot read Java jobs: it lacks {error.java_exception.getMessage()}. Upload livy-api and "
                "livy-client-http of the client's version to the session, or name them in the profile's spark.jars"
            ) from None
        return made.newInstance(self.array(OBJECT_CLASS, self.array("java.lang.Class")))

    def context(self):
        """What a job is called with: the names lead to what is called."""
        if self.shared is None:
            self.shared = self.jvm.java.util.concurrent.ConcurrentHashMap()
        jsession = self.session._jsparkSession
        calls = self.jvm.java.util.HashMap()
        calls.put("sc", self.constant(self.session.sparkContext._jsc))
        calls.put("sqlctx", self.constant(jsession.sqlContext()))
        calls.put("sparkSession", self.constant(jsession))
        calls.put("getLocalTmpDir", self.constant(self.jvm.java.io.File(self.directory())))
        for name, method, argument in (
            ("getSharedObject", "get", OBJECT), ("removeSharedObject", "remove", OBJECT), ("setSharedObject", "put", OBJECT * 2),
        ):
            calls.put(name, self.virtual("java.util.Map", method, f"({argument}){OBJECT}").bindTo(self.shared))
        interfaces = self.array("java.lang.Class", self.class_of(CONTEXT))
        return self.jvm.java.lang.reflect.Proxy.newProxyInstance(self.loader(), interfaces, self.handler(calls))

    def handler(self, calls):
        """Calls what `calls` has under the name of the method that was called."""
        find = self.virtual("java.util.Map", "get", f"({OBJECT}){OBJECT}").bindTo(calls)
        handle = "Ljava/lang/invoke/MethodHandle;"
        find = find.asType(self.type_of(f"(Ljava/lang/String;){handle}"))
        name = self.virtual("java.lang.reflect.Method", "getName", "()Ljava/lang/String;")
        find = self.handles.filterReturnValue(name, find)
        invoke = self.virtual("java.lang.invoke.MethodHandle", "invokeWithArguments", f"([{OBJECT}){OBJECT}").asFixedArity()
        # A method without arguments is called with null in their place.
        given = self.static("java.util.Objects", "requireNonNullElse", f"({OBJECT}{OBJECT}){OBJECT}")
        given = self.handles.insertArguments(given, 1, self.array(OBJECT_CLASS, self.array(OBJECT_CLASS)))
        given = given.asType(self.type_of(f"([{OBJECT})[{OBJECT}"))
        filters = self.array("java.lang.invoke.MethodHandle", find, given)
        call = self.handles.filterArguments(invoke, 0, filters)
        call = self.handles.dropArguments(call, 0, self.classes(OBJECT_CLASS))
        interface = self.class_of("java.lang.reflect.InvocationHandler")
        return self.jvm.java.lang.invoke.MethodHandleProxies.asInterfaceInstance(interface, call)

    def loader(self):
        return self.jvm.java.lang.Thread.currentThread().getContextClassLoader()

    def class_of(self, name):
        return self.jvm.java.lang.Class.forName(name, True, self.loader())

    def type_of(self, descriptor):
        return self.jvm.java.lang.invoke.MethodType.fromMethodDescriptorString(descriptor, self.loader())

    def virtual(self, owner, name, descriptor):
        return self.handles.publicLookup().findVirtual(self.class_of(owner), name, self.type_of(descriptor))

    def static(self, owner, name, descriptor):
        return self.handles.publicLookup().findStatic(self.class_of(owner), name, self.type_of(descriptor))

    def constant(self, value):
        return self.handles.constant(self.class_of(OBJECT_CLASS), value)

    def classes(self, *names):
        return self.array("java.lang.Class", *(self.class_of(name) for name in names))

    def array(self, kind, *values):
        made = self.gateway.new_array(self.gateway_class(kind), len(values))
        for at, value in enumerate(values):
            made[at] = value
        return made

    def gateway_class(self, name):
        found = self.jvm
        for part in name.split("."):
            found = getattr(found, part)
        return found
