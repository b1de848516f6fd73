"""A task of Airflow that runs its Livy operator, see `airflow_livy.py`."""

import json
import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parent / "airflow_livy.py"


class Task:
    """A task of Airflow in a process of its own."""

    def __init__(self, address, home, how, file, *arguments):
        self.url = f"http://{address}"
        env = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW_CONN_LIVY_DEFAULT": self.url}
        command = [os.environ["BERTH_AIRFLOW"], str(SCRIPT), how, str(file), *map(str, arguments)]
        self.process = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)

    def result(self, seconds=240):
        """What the task came to, and all that it logged."""
        said, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, said
        return json.loads(said.strip().splitlines()[-1]), said
