"""What answers for SnapInspect's API while calls are measured: `python -m bench.api PORT [CERTIFICATE KEY]`.

The stand-in keeps accounts and tokens, which takes longer than what is to be measured; this one only answers. A path
that begins with /slow/ is answered after 200 ms, one that begins with /hang/ never.
"""

import asyncio
import json
import ssl
import sys

SLOW_SECONDS = 0.2
USER = {"iUserID": 501, "sName": "Pat Reed", "sEmail": "pat@example.com", "iCompanyID": 6847, "sCompanyName": "Harbour"}
ROWS = {"rows": [{"iInspectionID": number, "sTitle": f"Inspection {number}"} for number in range(10)]}


def answer(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


AS_USER, AS_ROWS, REFUSED = answer("200 OK", USER), answer("200 OK", ROWS), answer("401 Unauthorized", {})


class Api(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        if b"\r\nauthorization: bearer " not in head.lower():
            self._transport.write(REFUSED)
        elif path.startswith(b"/slow/"):
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._transport.write, AS_ROWS)
        elif not path.startswith(b"/hang/"):
            self._transport.write(AS_USER if path == b"/user" else AS_ROWS)


async def serve(port: int, certificate: list[str]) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    server = await asyncio.get_running_loop().create_server(Api, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
