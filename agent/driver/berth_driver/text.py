"""How much text a statement shows."""

from berth_driver import frames

# Characters. Clients print whole frames, line by line, to read them: sparkmagic with `-o`, pylivy when it downloads.
MAX_TEXT = 8 << 20
# Bytes of the JSON that carries it: a frame has 16 MiB, with variables and all.
MAX_ENCODED = 14 << 20
CUT = "\n... (output cut by Berth)"


def fitted(text):
    """As much of a text as fits into a frame; escapes make up to six bytes of a character."""
    while (size := len(frames.dump(text))) > MAX_ENCODED:
        text = text[: len(text) * MAX_ENCODED // size - len(CUT)] + CUT
    return text
