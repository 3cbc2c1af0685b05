"""A stub of SnapInspect's API: `python -m bench.stub_api PORT [CERTIFICATE]`, over TLS with a certificate.

The stand-in of `integrations.sandbox` keeps accounts and tokens and takes longer than the product; this server does
nothing but answer. Paths below /slow/ are answered after 200 ms, paths below /hang/ never. /endpoint takes webhooks.
"""

import asyncio
import json
import re
import ssl
import sys

SLOW_SECONDS = 0.2
USER = {"iUserID": 501, "sName": "Pat Reed", "sEmail": "pat@example.com", "iCompanyID": 6847, "sCompanyName": "Harbour"}
ROWS = {"rows": [{"iInspectionID": number, "sTitle": f"Inspection {number}"} for number in range(10)]}


def response(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


USER_RESPONSE, ROWS_RESPONSE = response("200 OK", USER), response("200 OK", ROWS)
RECEIVED = response("200 OK", {})
UNAUTHORIZED = response("401 Unauthorized", {})


class StubApi(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            body = int(length[1]) if length else 0
            if len(rest) < body:
                return  # the rest of it is still to come
            self._received = rest[body:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if path == b"/endpoint":
            self._transport.write(RECEIVED)
        elif b"\r\nauthorization: bearer " not in head.lower():
            self._transport.write(UNAUTHORIZED)
        elif path.startswith(b"/slow/"):
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._transport.write, ROWS_RESPONSE)
        elif path.startswith(b"/rows/"):
            # One inspection: an answer about another one would prove nothing.
            self._transport.write(response("200 OK", {"iInspectionID": int(path.rpartition(b"/")[2]), "sTitle": "One"}))
        elif not path.startswith(b"/hang/"):
            self._transport.write(USER_RESPONSE if path == b"/user" else ROWS_RESPONSE)


async def serve(port: int, certificate: str = "") -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(StubApi, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
