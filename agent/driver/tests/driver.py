"""A runner with a real Spark, spoken to as its supervisor would."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from pathlib import Path

from berth_driver import frames

HOST = Path(__file__).parents[1] / "berth_driver" / "__main__.py"
START_SECONDS = 180


class Driver:
    def __init__(self, directory):
        scratch = directory / "local"
        scratch.mkdir(parents=True)
        confs = {
            "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.local.dir": str(scratch),
            "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin", "spark.driver.host": "127.0.0.1",
            "spark.connect.grpc.binding.address": "127.0.0.1", "spark.connect.grpc.binding.port": "0",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1", "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.warehouse.dir": str(directory / "warehouse"),
        }
        settings = directory / "settings.json"
        settings.write_text(json.dumps({"confs": confs, "scratch": str(scratch), "temporary": str(directory), "warm_up": 0, "token": "t"}))
        self.link, theirs = socket.socketpair()
        command = [sys.executable, str(HOST), str(settings), "runner", str(theirs.fileno()), str(os.getpid())]
        with open(directory / "driver.log", "wb") as log:
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        theirs.close()
        self.heard = queue.Queue()
        self.count = 0
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = self.await_frame(lambda frame: frame["t"] == "ready", START_SECONDS)["port"]

    def _listen(self):
        decoder = frames.Decoder()
        while data := self.link.recv(1 << 16):
            for frame in decoder.feed(data):
                self.heard.put(frame)

    def tell(self, **frame):
        self.link.sendall(frames.encode(frame))

    def await_frame(self, wanted, seconds=120):
        """The next frame that is wanted; what may begin is let."""
        while True:
            frame = self.heard.get(timeout=seconds)
            if frame["t"] == "begin":
                self.tell(t="go", id=frame["id"])
            if wanted(frame):
                return frame

    def submit(self, kind, code):
        self.count += 1
        self.tell(t="run", id=f"s{self.count}", kind=kind, code=code)
        return f"s{self.count}"

    def result(self, statement):
        return self.await_frame(lambda frame: frame["t"] == "result" and frame["id"] == statement)

    def run(self, kind, code):
        return self.result(self.submit(kind, code))

    def show(self, kind, code):
        """The output of code that works; of text, the text."""
        result = self.run(kind, code)
        assert result["state"] == "ok", result
        return result["output"].get("text/plain", result["output"])

    def error(self, kind, code):
        """Name, value and traceback of code that fails."""
        result = self.run(kind, code)
        assert result["state"] == "error", result
        return result["error_name"], result["error_value"], result["traceback"]

    def complete(self, kind, code, cursor):
        self.tell(t="complete", call=1, kind=kind, code=code, cursor=cursor)
        return self.await_frame(lambda frame: frame["t"] == "answer")["candidates"]

    def stop(self):
        # The JVM ends with the standard input that the runner gave it.
        self.process.kill()
        self.process.wait()
        self.link.close()
