"""Times `select 1` as a program sees it: PySpark through Berth and PySpark straight to the same kind of driver."""

import statistics
import sys
import time

from pyspark.sql import SparkSession

ROUNDS, CALLS = 5, 40


def times(session):
    taken = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        assert session.sql("select 1").collect()[0][0] == 1
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def main(via, direct):
    sides = {name: SparkSession.builder.remote(url).create() for name, url in (("direct", direct), ("via Berth", via))}
    for session in sides.values():
        times(session)
    taken = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, session in sides.items():
            taken[name] += times(session)
    print("| what | calls | p50 ms | p90 ms |\n|---|---|---|---|")
    for name, sample in taken.items():
        p90 = statistics.quantiles(sample, n=10)[-1]
        print(f"| {name} | {len(sample)} | {statistics.median(sample):.2f} | {p90:.2f} |")
    ratio = statistics.median(taken["via Berth"]) / statistics.median(taken["direct"])
    print(f"select 1 in PySpark: {ratio:.3f} of the direct time (medians)")
    for session in sides.values():
        session.stop()


main(*sys.argv[1:])
