"""HAProxy as what it is in front of a cluster: a balancer of TCP connections that knows nothing of what they carry."""

import socket
from pathlib import Path

from berth_up import wait_until
from processes import Process, free_ports

CONFIG = """
defaults
  mode tcp
  timeout connect 1s
  timeout client 10m
  timeout server 10m
  retries 3
  option redispatch 1
listen livy
  bind 127.0.0.1:{port}
  balance roundrobin
"""


class HaProxy:
    """Listens on a port of its own; connections go to the `servers` in turn, to another one if that does not accept."""

    def __init__(self, directory: Path, servers):
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        lines = [f"  server broker-{n} {host}:{at} check inter 500ms fall 1 rise 1\n" for n, (host, at) in enumerate(servers)]
        config = directory / "haproxy.cfg"
        config.write_text(CONFIG.format(port=port) + "".join(lines))
        self.process = Process("haproxy", ["haproxy", "-f", str(config), "-db"], directory)

    def start(self):
        self.process.start()
        wait_until(self.listens, 30, f"haproxy does not listen, see {self.process.log}")
        return self

    def listens(self):
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def end(self):
        self.process.kill()
