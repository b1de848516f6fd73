"""What code of Scala can do outside its driver, told from the classes that it was compiled to.

Nothing watches a JVM as an audit hook watches Python. So what refers only to classes that are known to be harmless has
no outside effects, and everything else counts as one: `scala:java.io.FileWriter`. What Spark writes is seen elsewhere.
"""

import os
import re
import struct

MAX_EFFECTS = 20
LINE = re.compile(r"^(\$line\d+)/")
HARMLESS = re.compile(
    r"^(\$line\d+/|\[|scala/|java/lang/|java/util/|java/math/|java/time/|java/text/|java/nio/charset/|"
    r"java/nio/\w*Buffer$|"
    r"java/sql/(Date|Time|Timestamp)$|java/net/URI$|org/apache/spark/|"
    r"java/io/(Serializable|PrintStream|String(Reader|Writer)|ByteArray\w+Stream|BufferedReader|\w+Exception)$)"
)
HARMFUL = re.compile(
    r"^(scala/(sys/|io/|tools/|util/parsing/)|scala/reflect/(io|internal)/|"
    r"scala/reflect/api/Mirrors\$(Instance|Class|Module|Method|Field|Template|Reflective)|"
    r"java/lang/(Process|Runtime|Thread|ClassLoader|reflect/|instrument/|foreign/|ModuleLayer)|"
    r"java/util/(jar|zip|logging|prefs)/|"
    r"org/apache/spark/(deploy|launcher|api/python|util/Utils|sql/streaming/DataStreamWriter|sql/DataFrameWriter|"
    r"sql/MergeIntoWriter|sql/jdbc))"
)
# Members of classes that are harmless but for the rest of them.
MEMBERS = {
    "java/lang/System": {"out", "err", "currentTimeMillis", "nanoTime", "arraycopy", "identityHashCode", "getProperty",
                         "getenv", "lineSeparator"},
    "java/lang/Thread": {"sleep", "currentThread", "getName", "getId", "isInterrupted"},
    "java/lang/Class": {"getName", "getSimpleName", "getTypeName", "getClassLoader", "isInstance", "cast", "hashCode",
                        "equals", "toString"},
    "java/io/PrintStream": {"print", "println", "printf", "format", "write", "flush", "append"},
    "java/lang/invoke/MethodHandle": set(),
    "java/lang/Runtime": {"availableProcessors", "totalMemory", "freeMemory", "maxMemory", "getRuntime"},
}


class Lines:
    """The interpreter's lines below a directory: `$line1`, `$line2` and so on."""

    def __init__(self, directory):
        self.directory = directory
        self.known = set()
        # What a line that only defines could do once something calls it, and what others could by calling it.
        self.tainted = {}

    def added(self, defines):
        """The outside effects of what was compiled since the last call; none when it only defines."""
        effects = set()
        for line in sorted(set(os.listdir(self.directory)) - self.known):
            self.known.add(line)
            effects |= self._effects(line)
        return set() if defines else effects

    def _effects(self, line):
        found, lines = set(), set()
        for folder, _, files in os.walk(os.path.join(self.directory, line)):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    classes, members = references(file.read())
                found |= suspects(classes, members)
                lines |= {match[1] for match in map(LINE.match, classes) if match}
        for other in lines - {line}:
            found |= self.tainted.get(other, set())
        if found:
            self.tainted[line] = found
        return found


def suspects(classes, members):
    """The classes, and members of classes, that are not known to be harmless."""
    found = set()
    for name in classes:
        name = name.lstrip("[").removeprefix("L").removesuffix(";") if name.startswith("[") else name
        if name in MEMBERS or len(name) == 1:
            continue
        if HARMFUL.match(name) or not HARMLESS.match(name):
            found.add(name)
    for owner, member in members:
        if owner in MEMBERS and member not in MEMBERS[owner]:
            found.add(f"{owner}.{member}")
    return {"scala:" + name.replace("/", ".") for name in sorted(found)[:MAX_EFFECTS]}


def references(data):
    """The classes, and the members as `(class, name)`, in the constant pool of a class file."""
    if data[:4] != b"\xca\xfe\xba\xbe":
        raise ValueError("not a class file")
    (count,) = struct.unpack_from(">H", data, 8)
    texts, classes, names, members = {}, {}, {}, []
    at, index = 10, 1
    while index < count:
        tag = data[at]
        if tag == 1:
            (length,) = struct.unpack_from(">H", data, at + 1)
            texts[index] = data[at + 3 : at + 3 + length].decode("utf-8", "replace")
            at += 3 + length
        elif tag in (7, 8, 16, 19, 20):
            if tag == 7:
                (classes[index],) = struct.unpack_from(">H", data, at + 1)
            at += 3
        elif tag in (9, 10, 11, 12, 17, 18, 3, 4):
            pair = struct.unpack_from(">HH", data, at + 1)
            if tag == 12:
                names[index] = pair[0]
            elif tag in (9, 10, 11):
                members.append(pair)
            at += 5
        elif tag == 15:
            at += 4
        elif tag in (5, 6):
            at += 9
            index += 1  # These take two places.
        else:
            raise ValueError(f"a constant of kind {tag} is not known")
        index += 1
    used = {(texts[classes[owner]], texts[names[member]]) for owner, member in members}
    return {texts[name] for name in classes.values()}, used
