"""Jobs that Spark goes on with although the operation that they belong to was interrupted.

Spark Connect hands an interrupt to an operation's thread once, and cancels the jobs that the operation has then. What
submits a job just afterwards, that thread or one that makes a stage for it, does not hear of it: the job runs to its
end and holds the session's cores, and no second interrupt reaches it. So a job whose operation was interrupted, or is
not there any more, is cancelled here. Queries that stream outlive the operation that started them by design; Spark
puts their jobs into a group, which jobs of operations are in none of.
"""

import sys
import threading
import time

from berth_driver import spark

LOOK_SECONDS = 1.0
PACKAGE = "org.apache.spark.sql.connect."
# What Spark Connect's tags for the jobs of an operation begin with.
OPERATION_TAG = "SparkConnect_OperationTag"


class Leftovers:
    """Looks after one driver."""

    def __init__(self, context):
        self.spark = context._jsc.sc()
        self.running = context._jvm.java.util.List.of(context._jvm.org.apache.spark.JobExecutionStatus.RUNNING)
        manager = spark.connect_service(context).executionManager()
        # Private parts of Spark: without them there is nothing to look at, which the driver's log says.
        private = private_fields(context)
        self.executions = private("service.SparkConnectExecutionManager", "executions").get(manager)
        self.runner = private("service.ExecuteHolder", "runner")
        self.states = private("execution.ExecuteThreadRunner", "state")
        self.interrupted = private("execution.ThreadState$", "startedInterrupted").get(None)
        self.seen = frozenset()

    def holders(self):
        """The operations that there are. One may end meanwhile."""
        return [holder for holder in self.executions.values() if holder is not None]

    def state(self, holder):
        return self.states.get(self.runner.get(holder))

    def wanted(self):
        """The tags of the operations that nobody has interrupted."""
        return {holder.jobTag() for holder in self.holders() if not self.state(holder).get().equals(self.interrupted)}

    def look(self):
        """Cancels the jobs that belonged to no such operation at the last look already; gives their numbers."""
        jobs = [job for job in elements(self.spark.statusStore().jobsList(self.running)) if job.jobGroup().isEmpty()]
        tags = {job.jobId(): operations_of(job) for job in jobs}
        # The operations after the jobs: one that begins meanwhile is not taken for one that has gone.
        wanted = self.wanted() if any(tags.values()) else set()
        unwanted = frozenset(job for job, of_job in tags.items() if of_job and not of_job & wanted)
        late = self.seen & unwanted
        for job in late:
            self.spark.cancelJob(job)
        self.seen = unwanted
        return late


def private_fields(context):
    def private(name, field):
        found = spark.java_class(context, PACKAGE + name).getDeclaredField(field)
        found.setAccessible(True)
        return found

    return private


def elements(sequence):
    return [sequence.apply(at) for at in range(sequence.size())]


def operations_of(job):
    return {tag for tag in elements(job.jobTags()) if tag.startswith(OPERATION_TAG)}


def watch(context, observer):
    """Looks after the driver from a thread of its own, for as long as it lives."""
    threading.Thread(target=keep_looking, args=(context, observer), name="interrupts", daemon=True).start()


def keep_looking(context, observer):
    observer.exempt()
    try:
        leftovers = Leftovers(context)
    except Exception as error:  # noqa: BLE001 - whatever Spark has in other places, its driver works without this
        print(f"berth: interrupts that Spark misses are not repeated: {error}", file=sys.__stderr__, flush=True)
        return
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            for job in leftovers.look():
                print(f"berth: cancelled job {job}, whose operation was interrupted", file=sys.__stderr__, flush=True)
        except Exception as error:  # noqa: BLE001 - an operation may end while it is looked at
            print(f"berth: interrupts are looked at again: {error}", file=sys.__stderr__, flush=True)
