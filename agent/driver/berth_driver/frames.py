"""Frames: JSON objects behind a 4-byte big-endian length."""

import json
import struct

MAX_FRAME_BYTES = 16 << 20


def encode(frame):
    """The bytes of a frame."""
    data = json.dumps(frame).encode()
    if len(data) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(data)} bytes is longer than {MAX_FRAME_BYTES}")
    return struct.pack(">I", len(data)) + data


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
