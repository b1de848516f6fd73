"""Ends the processes of a driver, Spark's Python workers included."""

import ctypes
import os
import signal
import time

MARK = "BERTH_DRIVER_ID"
PR_SET_PDEATHSIG = 1
SWEEPS = 5


def boot_millis():
    """Milliseconds since boot, suspended time included: the clock that fences are measured with."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def die_with_parent(parent):
    """Has the kernel kill this process when `parent` ends, by whatever cause."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(3)  # It ended before the kernel was asked.


def kill(pid):
    """Kills a process that may have ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def marked(driver):
    """The other processes that carry the driver's mark in their environment."""
    wanted = f"{MARK}={driver}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                environment = file.read().split(b"\0")
        except OSError:
            continue
        if wanted in environment:
            yield int(entry)


def sweep(driver):
    """Kills every other process of the driver. Twice and more: some may be forking."""
    for _ in range(SWEEPS):
        found = list(marked(driver))
        if not found:
            return
        for pid in found:
            kill(pid)
