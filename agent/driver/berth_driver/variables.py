"""Snapshots of variables: what a statement that is not to run again has made of them.

A snapshot goes with the statement's result and comes back, as a statement of its own, to a new driver of the same
session. It is a pickle, so nothing else must ever be read with this.
"""

import ast
import base64
import io
import types
import zlib

from berth_driver import magics

# Of a pickle before it is packed, and of a snapshot, which has to fit where code does.
MAX_BYTES = 8 << 20
MAX_PACKED = 700 << 10
MAX_NAMES = 200
# Unchanged values of these types are not copied but found again by their name.
BY_NAME = (type, types.FunctionType)


class TooBig(Exception):
    """The pickle is longer than it may be."""


class Bounded(io.BytesIO):
    def write(self, data):
        if self.tell() + memoryview(data).nbytes > MAX_BYTES:
            raise TooBig
        return super().write(data)


class Watch:
    """The names of an interpreter before a statement runs."""

    def __init__(self, names, code):
        self.names, self.code = names, code
        self.before = dict(names)

    def snapshot(self):
        """What became of the names since: `data`, the names in it, and those that could not be kept."""
        assigned = {name for name, value in self.names.items() if self.before.get(name, self) is not value}
        assigned = {name for name in assigned if not name.startswith("__")}
        used = {name for name in mentioned(self.code) if name in self.names} - assigned
        stable = {
            id(value): name for name, value in self.names.items()
            if name not in assigned and (isinstance(value, BY_NAME) or name in ("spark", "sc", "sqlContext"))
        }
        # What it only used may have changed inside, unless it is of a sort that does not.
        used = {name for name in used if id(self.names[name]) not in stable}
        used = {name for name in used if not isinstance(self.names[name], (types.ModuleType, int, float, str, bytes))}
        gone = sorted(name for name in self.before if name not in self.names)
        kept, lost = self._keep(sorted(assigned) + sorted(used), stable)
        # What cannot be copied and was not assigned is what the statements before have made of it.
        lost = [name for name in lost if name in assigned or not is_unpickled(self.names[name])]
        if not kept and not gone and not lost:
            return None
        data = dump({"values": kept, "gone": gone}, stable)
        while data is None and kept:
            # Together they are too many: the last ones go first.
            lost.append(kept.popitem()[0])
            data = dump({"values": kept, "gone": gone}, stable)
        return {"data": data or "", "names": sorted(kept), "lost": sorted(lost)}

    def _keep(self, wanted, stable):
        kept, lost = {}, wanted[MAX_NAMES:]
        for name in wanted[:MAX_NAMES]:
            if dump(self.names[name], stable) is None:
                lost.append(name)
            else:
                kept[name] = self.names[name]
        return kept, lost


def is_unpickled(value):
    """True of what Spark holds: a view of data, not the data."""
    return type(value).__module__.startswith(("pyspark.", "py4j."))


def mentioned(code):
    """The names that code reads or writes, magics aside."""
    plain = "\n".join(line for line in code.split("\n") if not magics.is_magic(line))
    for each in (code, plain):
        try:
            return {node.id for node in ast.walk(ast.parse(each)) if isinstance(node, ast.Name)}
        except SyntaxError:
            pass
    return set()


def dump(value, stable):
    """A pickle as text, with references to what `stable` names; None if it cannot be made."""
    from pyspark import cloudpickle

    class Pickler(cloudpickle.CloudPickler):
        def persistent_id(self, item):
            return stable.get(id(item))

    out = Bounded()
    try:
        Pickler(out).dump(value)
    except Exception:  # Whatever keeps a value from being pickled, TooBig too.
        return None
    packed = zlib.compress(out.getvalue())
    return base64.b64encode(packed).decode() if len(packed) <= MAX_PACKED else None


def restore(names, data):
    """Gives names the values of a snapshot of this session; the text that says so."""
    from pyspark import cloudpickle

    unpacked = zlib.decompressobj().decompress(base64.b64decode(data), 2 * MAX_BYTES)

    class Unpickler(cloudpickle.pickle.Unpickler):
        def persistent_load(self, name):
            return names[name]

    found = Unpickler(io.BytesIO(unpacked)).load()
    for name in found["gone"]:
        names.pop(name, None)
    for name, value in found["values"].items():
        names[name] = at_home(value, names)
    return ", ".join(sorted(found["values"]))


def at_home(value, names):
    """A function of the session's own sees the session's names, not the copies that came with it."""
    if not isinstance(value, types.FunctionType) or value.__module__ != "__main__":
        return value
    for name, copy in value.__globals__.items():
        names.setdefault(name, copy)
    made = types.FunctionType(value.__code__, names, value.__name__, value.__defaults__, value.__closure__)
    made.__kwdefaults__ = value.__kwdefaults__
    made.__dict__.update(value.__dict__)
    made.__doc__, made.__annotations__, made.__qualname__ = value.__doc__, value.__annotations__, value.__qualname__
    return made
