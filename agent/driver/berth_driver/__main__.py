"""Entry point: `python __main__.py SETTINGS [ROLE]`, see the modules named like the roles.

A driver consists of a supervisor, which the agent starts and which enforces the fence, and its child, the runner,
which owns the JVM and runs code. Needs the standard library and PySpark. Protocol: docs/reference/agent-protocol.md.
"""

import importlib
import json
import os
import sys

ROLES = ("supervisor", "runner", "batch", "training", "metastore")


def main():
    role = sys.argv[2] if len(sys.argv) > 2 else "supervisor"
    if role not in ROLES:
        sys.exit(f"berth: no role {role!r}, there are {', '.join(ROLES)}")
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Modules of user code must never be looked for beside this file, nor ours be found by it.
    sys.path[0] = home
    module = importlib.import_module(f"berth_driver.{role}")
    sys.path.remove(home)
    module.main(settings)


if __name__ == "__main__":
    main()
