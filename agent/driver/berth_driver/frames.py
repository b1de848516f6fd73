"""Frames: JSON objects behind a 4-byte big-endian length."""

import json
import struct

MAX_FRAME_BYTES = 16 << 20
# Readers elsewhere refuse 128 levels, some of them after they have put a frame into something else.
MAX_DEPTH = 100
# Whole numbers that do not fit into 64 bits are doubles to them, which end a little above it.
MAX_NUMBER = 10**308


class TooLong(ValueError):
    """A frame is longer than it may be."""


def encode(frame):
    """The bytes of a frame."""
    data = dump(frame)
    if len(data) > MAX_FRAME_BYTES:
        raise TooLong(f"a frame of {len(data)} bytes is longer than {MAX_FRAME_BYTES}")
    return struct.pack(">I", len(data)) + data


def dump(value):
    """A value as JSON that every reader takes: Python's own would have NaN in it, and halves of characters."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Two halves become their character, and one alone, which is none, the replacement of such.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def check(frame):
    """Raises ValueError for a frame that the agent would refuse, however often it is sent."""
    encode(frame)
    level = [frame]
    for _ in range(MAX_DEPTH + 1):
        level = [part for each in level for part in parts_of(each)]
        if any(isinstance(each, int) and abs(each) > MAX_NUMBER for each in level):
            raise ValueError("a number is larger than a double can be")
        if not level:
            return
    raise ValueError(f"it has more than {MAX_DEPTH} levels of lists and objects")


def parts_of(value):
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


class Decoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self):
        self.buffer = bytearray()

    def feed(self, data):
        """Every frame that is complete with `data`."""
        self.buffer += data
        frames = []
        while len(self.buffer) >= 4:
            (length,) = struct.unpack_from(">I", self.buffer)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes is not one")
            if len(self.buffer) < 4 + length:
                break
            frames.append(json.loads(bytes(self.buffer[4 : 4 + length])))
            del self.buffer[: 4 + length]
        return frames
