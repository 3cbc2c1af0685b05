"""Misbehaving SnapInspects: real servers on loopback that answer exactly what a test tells them to."""

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# Marked values, so that a search for them proves something. They hold characters that need escaping somewhere.
ACCESS = "sentinel-access/AAA+bbb="
REFRESH = "sentinel-refresh/CCC+ddd="
SECRET = "sentinel-secret/EEE+fff="
NEW_ACCESS = "sentinel-new-access/GGG="
NEW_REFRESH = "sentinel-new-refresh/HHH="
SECRETS = (ACCESS, REFRESH, SECRET, NEW_ACCESS, NEW_REFRESH)


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Wire:
    """What an answer may do besides sending bytes: wait (until the test is over) and hang up."""

    socket: socket.socket
    over: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes, *, every: float) -> None:
        """Sends a byte each `every` seconds, over and over, until the client leaves (or a minute passed)."""
        end = time.monotonic() + 60
        with contextlib.suppress(OSError):
            while not self.over.wait(every) and time.monotonic() < end:
                self.send(data[:1])
                data = data[1:] + data[:1]

    def hang(self) -> None:
        self.over.wait(60)


Answering = Callable[[Call, Wire], bytes | None]


class Remote:
    """A server on a free loopback port. `answer` gets each call and returns the bytes to send, or None after having
    done it all itself, hanging up included."""

    def __init__(self, answer: Answering | bytes, tls: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self._answer: Answering = (lambda call, wire: answer) if isinstance(answer, bytes) else answer
        self._tls = tls
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def close(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            closing.callback(connection.close)
            if self._tls:
                # Wrapped first, shaken hands with later: `close` must know the socket that is waited on.
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                closing.callback(connection.close)
                self._open.append(connection)
                connection.do_handshake()
            reader = closing.enter_context(connection.makefile("rb"))
            while call := _read_call(reader):
                self.calls.append(call)
                data = self._answer(call, Wire(connection, self._over))
                if data is None:
                    return
                connection.sendall(data)


def _read_call(reader: BinaryIO) -> Call | None:
    line = reader.readline().decode("latin-1")
    if not line.strip():
        return None
    method, target, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Call(method, target, headers, reader.read(int(headers.get("content-length", 0))))


def http(body: bytes | str | object = b"", *, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """A complete answer; a `body` that is neither bytes nor str is sent as JSON."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def remote(answer: Answering | bytes, tls: ssl.SSLContext | None = None) -> Iterator[Remote]:
    server = Remote(answer, tls)
    try:
        yield server
    finally:
        server.close()


class Authority:
    """A certificate authority of our own; its certificate is the file at `path`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test authority")])
        certificate = self._signed(
            self._name, self._key.public_key(), days=1, extension=x509.BasicConstraints(True, None)
        )
        self.path = folder / "authority.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *, host: str = "127.0.0.1", days: int = 1, self_signed: bool = False) -> ssl.SSLContext:
        """A server's TLS with a new certificate; arguments as for `certificate`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(host=host, days=days, self_signed=self_signed))
        return context

    def certificate(self, *, host: str, days: int = 1, self_signed: bool = False) -> Path:
        """A file with a certificate for `host`, valid until `days` from now (negative: expired), and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = self._signed(
            name,
            key.public_key(),
            days=days,
            extension=x509.SubjectAlternativeName([alternative]),
            signer=(name, key) if self_signed else None,
        )
        file = self._folder / f"{host}{days}{self_signed}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return file

    def _signed(
        self,
        name: x509.Name,
        public_key: ec.EllipticCurvePublicKey,
        *,
        days: int,
        extension: x509.ExtensionType,
        signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None,
    ) -> x509.Certificate:
        issuer, key = signer or (self._name, self._key)
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(extension, critical=False)
            .sign(key, hashes.SHA256())
        )
