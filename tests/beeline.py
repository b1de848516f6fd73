"""Beeline, the command line of HiveServer2's clients."""

import os
import signal
import subprocess

from berth_up import wait_until

MAIN = "org.apache.hive.beeline.BeeLine"
SPEAKING = {**os.environ, "LC_ALL": "C.UTF-8"}
SLOW = "select count(*) from range(1000000000000) where hash(id) = 7;"


def command(class_path, url, user):
    return ["java", "-cp", class_path, MAIN, "-u", url, "-n", user]


def run(class_path, url, user, *statements):
    """What it says of a script, to both of its outputs."""
    script = [part for statement in statements for part in ("-e", statement)]
    whole = [*command(class_path, url, user), *script]
    done = subprocess.run(whole, capture_output=True, timeout=240, text=True, env=SPEAKING)
    return done.stdout, done.stderr


def interrupted(class_path, url, user, said):
    """What it says of a statement that Ctrl-C ends, of another one, and of `!quit`; in the file `said`, too."""
    with open(said, "wb") as out:
        client = subprocess.Popen(
            command(class_path, url, user), stdin=subprocess.PIPE, stdout=out, stderr=out, text=True, env=SPEAKING)
    try:
        print(SLOW, file=client.stdin, flush=True)
        wait_until(lambda: "PENDING -> RUNNING" in said.read_text(), 120, "it does not run")
        client.send_signal(signal.SIGINT)
        wait_until(lambda: "Query was cancelled" in said.read_text(), 60, "it is not interrupted")
        print("!tables\nselect 40 + 2 as after;\n!quit", file=client.stdin, flush=True)
        assert client.wait(timeout=120) == 0
    except AssertionError as error:
        raise AssertionError(f"{error}: {said.read_text()[-3000:]}") from error
    finally:
        client.kill()
    text = said.read_text()
    assert "| 42     |" in text and "TABLE_SCHEM" in text and "Closing: 0: jdbc:hive2" in text, text
    assert "Exception" not in text and "\tat " not in text, text
    return text
