"""The HTTP server: reads requests, routes them, and sends the answers, with the faults that tests ordered."""

import select
import socket
import socketserver
import sys
import threading
import traceback
from http.client import responses
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import Any

from integrations.sandbox import control_api, oauth, pages, receiver, resources
from integrations.sandbox.faults import Fault
from integrations.sandbox.http_messages import Answer, Request, Response, error
from integrations.sandbox.provider import Provider, Registration

LONGEST_BODY = 1 << 20
IDLE_SECONDS = 300
STOP_SECONDS = 5


def route(provider: Provider, request: Request) -> Answer:
    """The answer of the page or resource at the request's path."""
    match request.path:
        case oauth.AUTHORIZATION_PATH:
            return oauth.authorize(provider, request)
        case oauth.EXCHANGE_PATH:
            return oauth.exchange(provider, request)
        case pages.PERSONAL_PATH:
            return pages.personal_tokens(provider, request)
        case pages.INSPECTIONS_PATH:
            return pages.inspections(provider, request)
        case receiver.PAGE_PATH:
            return receiver.page(
                provider.receiver, request, url=f"http://{request.headers['Host']}{receiver.HOOK_PATH}"
            )
        case receiver.HOOK_PATH if request.method == "POST":
            return provider.receiver.receive(request)
        case "/" if request.is_read and not request.bearer:
            return pages.overview(provider)
        case "/favicon.ico":
            return Response(204)
    return resources.resource(provider, request)


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: "Server"

    def handle_any(self) -> None:
        request = self.read_request()
        if request is None:
            return
        try:
            if request.path.startswith(control_api.PREFIX):
                self.send(control_api.answer(self.server.provider, request).render())
            else:
                self.serve(request)
        except OSError:  # the client has closed the connection
            self.close_connection = True
        except Exception as problem:  # a bug must be visible, but its text may quote a token
            where = "".join(traceback.format_tb(problem.__traceback__))
            print(f"{type(problem).__name__} at {request.path}\n{where}", file=sys.stderr)  # noqa: T201
            self.send(error(500, "server_error", "The stand-in itself failed.").render())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def read_request(self) -> Request | None:
        """The request with its whole body, or None if it was refused unread."""
        length = self.headers.get("Content-Length", "0")
        refusal = None
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            refusal = error(411, "length_required", "The body needs a Content-Length.")
        elif int(length) > LONGEST_BODY:
            refusal = error(413, "too_large", "The body is too large.")
        if refusal:
            self.close_connection = True
            self.send(refusal.render())
            return None
        body = self.rfile.read(int(length)) if length != "0" else b""
        return Request(self.command, self.path, self.headers, body, self.client_address[0])

    def serve(self, request: Request) -> None:
        """Answers one request, with its faults. Raises OSError if the client leaves during a delay."""
        provider = self.server.provider
        token = request.bearer or dict(request.form).get("refresh_token", "")
        company = provider.company_of(request, token)
        entry = provider.log.add(request, token=token, company=company)
        faults = provider.faults.matching(request, token, company)

        if fault := self.apply(faults, None):
            response = fault.response(None)
        else:
            answer = route(provider, request)
            fault = self.apply(faults, answer)
            response = fault.response(answer) if fault else answer.render()
        if response is None:
            self.close_connection = True
            return
        # Set before the first byte is sent: a client that has the answer finds the status in the log.
        entry["status"] = response.status
        self.send(response)

    def apply(self, faults: list[Fault], answer: Answer | None) -> Fault | None:
        """Waits as the faults say. Returns the oldest fault that replaces or changes the answer.

        `answer`: None if the request has not been carried out yet.
        """
        chosen = None
        for fault in faults:
            if (chosen and fault.answers) or not fault.applies_to(answer):
                continue
            if not self.server.provider.faults.use(fault):
                continue
            fault.cleared.wait(fault.delay)
            if fault.delay and answer is None and self.client_has_left():
                raise ConnectionAbortedError
            if fault.answers:
                chosen = fault
        return chosen

    def client_has_left(self) -> bool:
        """Whether the client closed the connection while it waited: then its request must not be carried out."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def send(self, response: Response) -> None:
        headers = {"Server": "SnapInspect-stand-in", "Date": self.date_time_string()} | response.headers
        if response.status not in (204, 304):
            headers.setdefault("Content-Length", str(len(response.body)))
        if self.close_connection:
            headers["Connection"] = "close"
        self.close_connection = headers.get("Connection") == "close"
        reason = responses.get(response.status, "")
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {headers[name]}" for name in headers)]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head if self.command == "HEAD" else head + response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: request lines contain tokens."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """A thread for each connection, and a way to end them all."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], provider: Provider) -> None:
        self.provider = provider
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the machine's name, which may ask a DNS server.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: only broken connections get here."""

    def close_connections(self) -> None:
        """Closes all open connections and waits until their threads have finished."""
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # already closed
            self._changed.wait_for(lambda: not self._open, timeout=STOP_SECONDS)


class Sandbox:
    """A running stand-in; as a context manager it stops at the end. `url` ends with a slash."""

    def __init__(self, server: Server) -> None:
        self._server = server
        host, self.port = server.server_address[0], server.server_address[1]
        self.url = f"http://{host!s}:{self.port}/"
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends delayed requests, closes all connections and the state file, frees the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.provider.stop()
        self._server.close_connections()
        self._server.provider.storage.close()


def serve(
    *,
    client_id: str,
    client_secret: str,
    redirect_uri: str,
    app_name: str = "Connect",
    token_prefix: str = "",
    webhook_url: str = "",
    webhook_speed: float = 1,
    state_file: str | None = None,
    port: int = 0,
) -> Sandbox:
    """A stand-in that listens on 127.0.0.1, in a thread of this process.

    The first four describe the registered application. `token_prefix`: of every token, so that tests can search for
    tokens. `webhook_url`: gets the events of all companies. `webhook_speed`: see `Webhooks`. `state_file`: None keeps
    everything in memory. `port`: 0 takes a free one. Raises OSError if the port is taken.
    """
    registration = Registration(client_id, client_secret, redirect_uri, app_name, token_prefix, webhook_url)
    provider = Provider(registration, state_file=state_file, webhook_speed=webhook_speed)
    try:
        server = Server(("127.0.0.1", port), provider)
    except OSError:
        provider.storage.close()
        raise
    return Sandbox(server)
