"""What the parts of the benchmark share."""

import os
import subprocess
from pathlib import Path

from berth_up import Up, wait_until

HERE = Path(__file__).parent
LOADTEST = os.environ["BERTH_LOADTEST"]
PYTHON = os.environ["BERTH_PYTHON"]


def load(title, *command):
    print(f"\n## {title}", flush=True)
    subprocess.run([LOADTEST, *command], check=True)


def settled(up, warm):
    """Waits until the pool is full and the archive of classes is made: both take processors."""
    wait_until(lambda: len(up.drivers("warm")) >= warm, 300, "the pool does not fill")
    archives = up.data / "agent/class-archives"
    wait_until(lambda: any(archives.glob("*.jsa")), 300, "no archive of classes is made")
    wait_until(lambda: os.getloadavg()[0] < 1.5, 300, "the machine does not come to rest")


def stub_berth(directory, name):
    """A Berth whose drivers are stubs."""
    wrapper = directory / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{HERE / "stub_host.py"}" "$@"\n')
    wrapper.chmod(0o755)
    os.environ["BERTH_STUB_PYTHON"] = str(wrapper)
    flags = ["--python", str(wrapper), "--warm", "1", "--log", "warn", "--set", "agent.catalog=none"]
    return Up(directory / name, *flags)
