"""Jobs that Spark goes on with although their operation was interrupted.

Spark Connect hands an interrupt to an operation's thread once. A thread that is just about to submit its job may not
hear of it: the job then runs to its end and holds the session's cores, and no second interrupt reaches it. So what was
interrupted and still runs some time later has its jobs cancelled here, by the tag that Spark gives them.
"""

import threading
import time

from berth_driver import spark

LOOK_SECONDS = 1.0
PACKAGE = "org.apache.spark.sql.connect."


class Leftovers:
    """Looks after one driver."""

    def __init__(self, context):
        self.context = context
        self.jvm = context._jvm
        manager = spark.connect_service(context).executionManager()
        # Private parts of Spark: without them there is nothing to look at, which the driver's log says.
        self.executions = self.private(PACKAGE + "service.SparkConnectExecutionManager", "executions").get(manager)
        self.runner = self.private(PACKAGE + "service.ExecuteHolder", "runner")
        self.states = self.private(PACKAGE + "execution.ExecuteThreadRunner", "state")
        self.interrupted = self.private(PACKAGE + "execution.ThreadState$", "startedInterrupted").get(None)
        self.seen = frozenset()

    def private(self, name, field):
        found = spark.java_class(self.context, name).getDeclaredField(field)
        found.setAccessible(True)
        return found

    def holders(self):
        """The operations that there are. One may end meanwhile."""
        return [holder for holder in self.executions.values() if holder is not None]

    def state(self, holder):
        return self.states.get(self.runner.get(holder))

    def is_interrupted(self, holder):
        return self.state(holder).get().equals(self.interrupted)

    def look(self):
        """Cancels the jobs of what was interrupted at the last look already; gives their tags."""
        tags = frozenset(holder.jobTag() for holder in self.holders() if self.is_interrupted(holder))
        late = self.seen & tags
        for tag in late:
            self.context.cancelJobsWithTag(tag)
        self.seen = tags
        return late


def watch(context, observer):
    """Looks after the driver from a thread of its own, for as long as it lives."""
    threading.Thread(target=keep_looking, args=(context, observer), name="interrupts", daemon=True).start()


def keep_looking(context, observer):
    observer.exempt()
    try:
        leftovers = Leftovers(context)
    except Exception as error:  # noqa: BLE001 - whatever Spark has in other places, its driver works without this
        print(f"berth: interrupts that Spark misses are not repeated: {error}", flush=True)
        return
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            for tag in leftovers.look():
                print(f"berth: cancelled again what was interrupted: {tag}", flush=True)
        except Exception as error:  # noqa: BLE001 - an operation may end while it is looked at
            print(f"berth: interrupts are looked at again: {error}", flush=True)
