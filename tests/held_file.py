"""A file on the web that is not given away before a test says so."""

import http.server
import threading
from contextlib import contextmanager
from types import SimpleNamespace


@contextmanager
def held_file():
    """Its `url`, whether somebody has `asked` for it, and whether it `may_go`."""
    file = SimpleNamespace(may_go=threading.Event(), asked=threading.Event())

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            file.asked.set()
            file.may_go.wait()
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.handle_error = lambda *_: None  # Drivers end while they wait for it.
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file.url = f"http://127.0.0.1:{server.server_port}/held.txt"
    try:
        yield file
    finally:
        file.may_go.set()
        server.shutdown()
        server.server_close()
