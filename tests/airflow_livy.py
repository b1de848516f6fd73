"""Airflow's own Livy operator and trigger, without a scheduler: `airflow_livy.py HOW FILE [ARGUMENT..]`.

Runs with the Python of Airflow's venv; the connection `livy_default` comes from the environment. The last line that it
prints is a JSON object: `outcome` (`done` or the error), `batch`, and what was pushed for others.
"""

import asyncio
import datetime
import json
import sys
import threading

from airflow.providers.apache.livy.operators.livy import LivyOperator
from airflow.providers.common.compat.sdk import TaskDeferred

POLL_SECONDS = 1


class Instance:
    """As much of a task instance as the operator asks for."""

    def __init__(self):
        self.pushed, self.stats_tags = {}, {}

    def xcom_push(self, key, value):
        self.pushed[key] = value


class State:
    """Airflow's store of what a task wants to find again after a crash."""

    def __init__(self, known=None):
        self.values = dict(known or {})

    def get(self, key, default=None):
        return self.values.get(key, default)

    def set(self, key, value, **_):
        self.values[key] = value

    def delete(self, key):
        self.values.pop(key, None)


def deferred(operator, context, waits):
    """What the triggerer does with a task that defers: runs the trigger, and the task again with its event."""

    async def first(trigger):
        async for event in trigger.run():
            return event

    event = asyncio.run(first(waits.trigger))
    return getattr(operator, waits.method_name)(context, event.payload)


def execute(operator, context):
    try:
        return operator.execute(context)
    except TaskDeferred as waits:
        return deferred(operator, context, waits)


def killed_when_asked(operator):
    """Kills the task when a line comes, as a worker that is told to stop."""

    def wait():
        sys.stdin.readline()
        operator.on_kill()

    threading.Thread(target=wait, daemon=True).start()


def main(how, file, *arguments):
    timeout = datetime.timedelta(seconds=5) if how == "timeout" else None
    operator = LivyOperator(
        task_id="batch", file=file, args=list(arguments), name=None, polling_interval=POLL_SECONDS,
        executor_cores="1", num_executors="1", conf={"spark.sql.shuffle.partitions": 3},
        deferrable=how in ("deferrable", "timeout"), execution_timeout=timeout)
    instance, state = Instance(), State()
    context = {"ti": instance, "task_state_store": state}
    if how == "kill":
        killed_when_asked(operator)
    try:
        batch, outcome = execute(operator, context), "done"
    except Exception as error:
        batch, outcome = operator._batch_id, f"{type(error).__name__}: {error}"
    print(json.dumps({"outcome": outcome, "batch": batch, "pushed": instance.pushed, "state": state.values}))


if __name__ == "__main__":
    main(*sys.argv[1:])
