"""A stub HTTP server in a thread, for tests of HTTP clients."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Takes the JSON of a request, or None for a GET, and returns the status and the JSON of the response.
Responder = Callable[[Any], tuple[int, Any]]


@contextmanager
def stub_server(respond: Responder, *, chunked: bool = False) -> Iterator[str]:
    """Run a server on 127.0.0.1 and yield its URL.

    Args:
        respond: Computes the response to each request.
        chunked: Whether responses use chunked transfer encoding.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond(None)

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _respond(self, request: Any) -> None:
            status, content = respond(request)
            body = json.dumps(content).encode()
            self.send_response(status)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for part in (body[:1], body[1:]) if len(body) > 1 else (body,):  # an empty chunk would end the body
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.write(b"0\r\n\r\n")
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print no access log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
