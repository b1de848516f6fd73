"""Runs a notebook with sparkmagic's kernels, as `jupyter execute` does it, in the clients' own Python."""

import json
import os
import subprocess
from pathlib import Path

PYTHON = Path(os.environ["BERTH_PYTHON"]).parents[2] / "venv-sparkmagic/bin/python"
HERE = Path(__file__).parent
# After so long without a call its sessions end.
HEARTBEAT_SECONDS = 10


class Run:
    """A notebook that is being executed."""

    def __init__(self, address, notebook, directory: Path, **environment):
        self.output, self.log = directory / "done.ipynb", directory / "notebook.log"
        name = json.loads((HERE / "notebooks" / notebook).read_text())["metadata"]["kernelspec"]["name"]
        kernel = directory / "kernels" / name
        kernel.mkdir(parents=True)
        module = f"sparkmagic.kernels.{name}.{name}"
        command = [str(PYTHON), "-m", module, "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": name, "language": "python"}))
        endpoint = {"username": "", "password": "", "url": f"http://{address}", "auth": "None"}
        # Its widget for tables asks its page for something, which there is none to answer.
        settings = {"livy_session_startup_timeout_seconds": 240, "use_auto_viz": False}
        # To end a session it waits for its next heartbeat, half a minute by default.
        settings |= {"heartbeat_refresh_seconds": 2, "livy_server_heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
        settings |= {f"kernel_{language}_credentials": endpoint for language in ("python", "scala")}
        (directory / "config.json").write_text(json.dumps(settings))
        environment = {**os.environ, **environment, "JUPYTER_PATH": str(directory), "SPARKMAGIC_CONF_DIR": str(directory)}
        command = [str(PYTHON.parent / "jupyter"), "execute", "--timeout=300", f"--output={self.output}",
                   str(HERE / "notebooks" / notebook)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def reached(self, path: Path):
        """Whether a cell has made the file."""
        if self.process.poll() is not None and not path.exists():
            raise AssertionError(f"the notebook ended before: {self.log.read_text()[-4000:]}")
        return path.exists()

    def wait(self):
        """The executed notebook."""
        assert self.process.wait(timeout=300) == 0, self.log.read_text()[-6000:]
        return Executed(json.loads(self.output.read_text()))

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Executed:
    """What the cells of a notebook show; a cell is named by some of its text."""

    def __init__(self, notebook):
        self.cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

    def failed(self):
        """The cells whose code failed: sparkmagic only says so."""
        sources = ["".join(cell["source"]) for cell in self.cells]
        return [each for each in sources if "An error was encountered" in self.text_of(each)]

    def outputs(self, part):
        (cell,) = [cell for cell in self.cells if part in "".join(cell["source"])]
        return cell["outputs"]

    def text_of(self, part):
        return "".join("".join(output.get("text", "")) for output in self.outputs(part)).strip()

    def types_of(self, part):
        """The MIME types that a cell shows."""
        return {mime for output in self.outputs(part) for mime in output.get("data", {})}

    def page_of(self, part):
        """What a cell shows as HTML."""
        return "".join("".join(output.get("data", {}).get("text/html", "")) for output in self.outputs(part))
