"""A Jupyter kernel as a notebook has one: cells run in it, and its stop button interrupts it."""

import queue

from jupyter_client.manager import start_new_kernel

PATIENCE = 180


def of(cell, receive):
    """The messages about a cell."""
    while True:
        try:
            message = receive(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError("a cell does not end") from None
        if message["parent_header"].get("msg_id") == cell:
            yield message


class Notebook:
    def __init__(self):
        self.manager, self.client = start_new_kernel(startup_timeout=PATIENCE)

    def begin(self, code):
        """Starts a cell; gives what `end` wants."""
        return self.client.execute(code)

    def end(self, cell):
        """The reply to a cell, which has ended, and what it printed."""
        printed = []
        for message in of(cell, self.client.get_iopub_msg):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        reply = next(of(cell, self.client.get_shell_msg))
        return reply["content"], "".join(printed)

    def run(self, code):
        """What a cell that must not fail prints."""
        reply, printed = self.end(self.begin(code))
        assert reply["status"] == "ok", "\n".join(reply.get("traceback", []))
        return printed.strip()

    def interrupt(self):
        """The stop button, and Ctrl-C in a console."""
        self.manager.interrupt_kernel()

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
