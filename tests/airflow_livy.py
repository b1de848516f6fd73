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
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

POLL_SECONDS = 1
PATIENCE_SECONDS = 5


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


def execute_in_time(operator, context):
    """What a worker does with a task that has a limit and polls by itself."""
    try:
        with timeout(PATIENCE_SECONDS):
            return operator.execute(context)
    except AirflowTaskTimeout as late:
        operator.on_kill()
        raise TimeoutError("timed out") from late


def killed_when_asked(operator):
    """Kills the task when a line comes, as a worker that is told to stop."""

    def wait():
        sys.stdin.readline()
        operator.on_kill()

    threading.Thread(target=wait, daemon=True).start()


def main(how, file, *arguments):
    limit = datetime.timedelta(seconds=PATIENCE_SECONDS) if how.endswith("timeout") else None
    operator = LivyOperator(
        task_id="batch", file=file, args=list(arguments), name=None, polling_interval=POLL_SECONDS,
        executor_cores="1", num_executors="1", conf={"spark.sql.shuffle.partitions": 3},
        deferrable=how.startswith("deferrable"), execution_timeout=limit)
    instance, state = Instance(), State()
    context = {"ti": instance, "task_state_store": state}
    if how == "kill":
        killed_when_asked(operator)
    run = execute_in_time if how == "sync-timeout" else execute
    try:
        batch, outcome = run(operator, context), "done"
    except Exception as error:
        batch, outcome = operator._batch_id, f"{type(error).__name__}: {error}"
    print(json.dumps({"outcome": outcome, "batch": batch, "pushed": instance.pushed, "state": state.values}))


if __name__ == "__main__":
    main(*sys.argv[1:])
