"""The HTTP side: reads requests, finds who answers, and sends the answer well or, on order, badly."""

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

from integrations.sandbox import api, connect, control, pages
from integrations.sandbox.faults import Fault, Met
from integrations.sandbox.messages import Answer, Request, Response, refusal
from integrations.sandbox.tokens import Mode
from integrations.sandbox.world import Registration, World

LONGEST_BODY = 1 << 20
IDLE_SECONDS = 300
STOP_SECONDS = 5


def answer_to(world: World, request: Request, met: Met) -> Answer:
    """The page, document or redirect that belongs to this request."""
    match request.path:
        case connect.CONNECT_PATH:
            return connect.consent(world, request, met)
        case connect.EXCHANGE_PATH:
            return connect.exchange(world, request, met)
        case pages.PERSONAL_PATH:
            return pages.personal_tokens(world, request)
        case pages.INSPECTIONS_PATH:
            return pages.inspections(world, request)
        case "/" if request.reads and "Authorization" not in request.headers:
            return pages.home(world)
        case "/favicon.ico":
            return Response(204)
    return api.resource(world, request)


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
            if request.path.startswith(control.PREFIX):
                self.send(control.answer(self.server.world, request).render())
            else:
                self.serve(request)
        except OSError:  # the client has gone
            self.close_connection = True
        except Exception as error:  # a bug here must be seen, but its text may quote a token
            where = "".join(traceback.format_tb(error.__traceback__))
            print(f"{type(error).__name__} at {request.path}\n{where}", file=sys.stderr)  # noqa: T201
            self.send(refusal(500, "server_error", "The stand-in itself failed.").render())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def read_request(self) -> Request | None:
        """The request with its whole body, or None when it was refused unread."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            self.send(refusal(411, "length_required", "The body needs a Content-Length.").render())
            return None
        if int(length) > LONGEST_BODY:
            self.close_connection = True
            self.send(refusal(413, "too_large", "The body is too large.").render())
            return None
        body = self.rfile.read(int(length)) if length != "0" else b""
        return Request(self.command, self.path, self.headers, body, self.client_address[0])

    def serve(self, request: Request) -> None:
        """Answers one request as its faults order: wait, work, wait, alter, send."""
        world = self.server.world
        token = request.bearer or dict(request.form).get("refresh_token", "")
        company = world.company_of(request, token)
        entry = world.log.add(request, token=token, company=company)
        met = world.faults.met_by(request, token, company)

        for fault in met.waiting(work=False):
            fault.wait()
            if self.client_has_gone():
                self.close_connection = True
                return
        replacing = met.replacing()
        response: Response | None
        if replacing is None:
            answer = answer_to(world, request, met)
            for fault in met.altering(answer):
                fault.alter(answer)
            response = answer.render()
        else:
            if replacing.settings["work"]:
                answer_to(world, request, met)
            response = replacing.replacement()
        for fault in met.waiting(work=True):
            fault.wait()
        if response is None:
            self.close_connection = True
            return
        # Before the first byte leaves: who has the answer finds the status in the log.
        entry["status"] = response.status
        self.send(response, met.sending())

    def client_has_gone(self) -> bool:
        """Whether the other side hung up while we waited: then the work must not be done behind its back."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def send(self, response: Response, fault: Fault | None = None) -> None:
        """Sends it in one piece, or in the way the fault says."""
        body = b"" if self.command == "HEAD" else response.body
        cut = fault is not None and fault.kind == "cut"
        if cut:
            self.close_connection = True
        headers = {"Server": "SnapInspect-stand-in", "Date": self.date_time_string()} | response.headers
        if response.status not in (204, 304):
            headers.setdefault("Content-Length", str(len(response.body) or int(cut)))
        if self.close_connection:
            headers["Connection"] = "close"
        reason = responses.get(response.status, "")
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {headers[name]}" for name in headers)]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if cut:
            self.wfile.write(head + body[: len(body) // 2])
        elif fault is None:
            self.wfile.write(head + body)
        elif fault.settings["where"] == "headers":
            self.drip(head, fault)
            self.wfile.write(body)
        else:
            self.wfile.write(head)
            self.drip(body, fault)

    def drip(self, data: bytes, fault: Fault) -> None:
        """One byte at a time; what is left goes out at once when the fault is cleared."""
        for sent in range(len(data)):
            if fault.cleared.wait(fault.settings["interval"]):
                self.wfile.write(data[sent:])
                return
            self.wfile.write(data[sent : sent + 1])

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: request lines carry tokens."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """A thread for each connection, and a way to end them all."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], world: World) -> None:
        self.world = world
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        # Without HTTPServer's look-up of the machine's name, which may ask a DNS server.
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
        """Silent: what reaches this place is a connection that broke."""

    def hang_up(self) -> None:
        """Closes the connections that are still open and waits until their threads have let go of them."""
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # already gone
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
        self.stop()

    def stop(self) -> None:
        """Lets waiting requests go, closes every connection and the state file, frees the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.world.release()
        self._server.hang_up()
        self._server.world.records.close()


def serve(
    *,
    client_id: str,
    client_secret: str,
    redirect_uri: str,
    app_name: str = "Connect",
    token_prefix: str = "",
    webhook_url: str = "",
    webhook_speed: float = 1,
    mode: Mode = "strict",
    state_file: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Sandbox:
    """A stand-in that is already listening, in a thread of this process.

    The first four describe the registered application. `token_prefix`: starts every token minted, so that
    tests can search for them. `webhook_url`: gets the events of all companies. `webhook_speed`: how much faster
    than real time webhooks are retried. `mode`: see `tokens.py`. `state_file`: None keeps everything in memory.
    `port`: 0 takes a free one. Raises OSError when the address is taken.
    """
    registration = Registration(client_id, client_secret, redirect_uri, app_name, token_prefix, webhook_url)
    world = World(registration, mode=mode, state_file=state_file, speed=webhook_speed)
    try:
        server = Server((host, port), world)
    except OSError:
        world.records.close()
        raise
    return Sandbox(server)
