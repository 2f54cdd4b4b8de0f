"""A webhook receiver as a subscriber would write it: verifies the signature, then accepts. Keeps what it accepted."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook

__all__ = ["Receiver"]

_MAX_BYTES = 2 << 20


class Receiver:
    """Listens on loopback until it is closed."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._events: dict[str, dict[str, Any]] = {}
        #: Requests without a valid signature.
        self.refused = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where completions are posted to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/completions"

    def has(self, event_id: str) -> bool:
        """Whether the event with this id was accepted."""
        with self._lock:
            return event_id in self._events

    def events(self) -> list[dict[str, Any]]:
        """What was accepted, in the order of arrival, each event once."""
        with self._lock:
            return list(self._events.values())

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _accept(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            self._webhook.verify(body, headers)
            event = json.loads(body)
        except Exception:  # whatever a stranger sends is refused in one way
            with self._lock:
                self.refused += 1
            return False
        with self._lock:
            # Delivered at least once: the id tells a repetition from a new event.
            self._events.setdefault(event["id"], event)
        return True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Request(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                size = min(int(self.headers.get("content-length", 0)), _MAX_BYTES)
                headers = {name.lower(): value for name, value in self.headers.items()}
                accepted = receiver._accept(headers, self.rfile.read(size))
                self.send_response(204 if accepted else 401)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing: the demo shows what was accepted."""

        return Request
