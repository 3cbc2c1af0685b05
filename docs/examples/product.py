"""A tiny product of a company that runs Connect: two users, the button, the way back, live inspections, and webhooks.

    CONNECT_URL=http://localhost:8000 CONNECT_API_KEY=cok_… PORT=8002 python docs/examples/product.py

`make run` starts it like that. The key needs the scopes in SCOPES, and CONNECT_RETURN_ORIGINS of Connect has to list
http://127.0.0.1:8002. Only the standard library; what your product does in its own way is marked with "Yours".
"""

import base64
import hmac
import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from html import escape
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

SCOPES = ("customers", "connections:read", "connections:write", "events:read", "events:write", "proxy:read")
CONNECT_URL = os.environ.get("CONNECT_URL", "http://localhost:8000").rstrip("/")
PORT = int(os.environ.get("PORT", "8002"))
# Not `localhost`, where Connect is: cookies do not know ports.
OWN_URL = f"http://127.0.0.1:{PORT}"
HOOK_URL = f"{OWN_URL}/webhooks"
COOKIE = "product"
OLDEST_WEBHOOK = 300  # seconds
MOST_SHOWN = 10
MOST_BYTES = 200_000


@dataclass(frozen=True)
class User:
    name: str
    company: str
    company_id: str  # this product's own ID of the company; Connect calls it `external_id`


# Yours: accounts with passwords, in a database.
USERS = {"ana": User("Ana", "Initech Homes", "company-1"), "ben": User("Ben", "Hooli Lettings", "company-2")}


@dataclass
class Session:
    """What this product remembers about a browser. Yours: sessions that survive a restart."""

    user: User | None = None
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    connecting: str = ""  # the connect session that this browser has begun
    message: str = ""  # shown once


SESSIONS: dict[str, Session] = {}


class Refused(Exception):
    """What Connect says when it cannot do what was asked."""


def connect(method: str, path: str, body: Any = None, **query: str) -> Any:
    """Calls Connect's API. Only this back end has the key: it goes into no page and no address."""
    request = Request(  # noqa: S310 (the operator's own address)
        f"{CONNECT_URL}/api/v1/{path}?{urlencode(query)}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {os.environ['CONNECT_API_KEY']}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            return None if answer.status == HTTPStatus.NO_CONTENT else json.load(answer)
    except HTTPError as problem:
        is_ours = problem.headers.get_content_type() == "application/problem+json"
        raise Refused(json.load(problem)["detail"] if is_ours else f"SnapInspect answered {problem.code}.") from None
    except OSError:
        raise Refused("Connect does not answer. Try again.") from None


def begin(session: Session, user: User, *, connection: str = "", is_popup: bool = False) -> str:
    """The address at which this user connects. It is for their browser only: who opens it connects *their* account."""
    asked = {
        "customer": {"external_id": user.company_id, "name": user.company},
        "return_to": f"{OWN_URL}/connected{'?popup=1' if is_popup else ''}",
    }
    made = connect("POST", "connect-sessions", {**asked, "connection": connection} if connection else asked)
    session.connecting = made["id"]
    return str(made["url"])


def finish(session: Session, user: User, returned: str) -> str:
    """What to tell the user who came back. Anybody can write the address that they came to, so Connect is asked."""
    if returned != session.connecting:
        return "You came back from something that did not begin here."
    found = connect("GET", f"connect-sessions/{returned}")
    if found["customer"]["external_id"] != user.company_id:
        return "You came back from something that did not begin here."
    words = {"connected": "SnapInspect is connected.", "declined": "You did not allow access."}
    return words.get(found["status"], "SnapInspect could not be connected. Try again.")


def connections_of(user: User) -> list[dict[str, Any]]:
    """The company's connections, found by this product's own ID of it."""
    found = connect("GET", "connections", external_id=user.company_id)["items"]
    return [connection for connection in found if connection["state"] != "disconnected"]


def inspections_of(connection: str) -> list[dict[str, Any]]:
    """Live from SnapInspect with the customer's access, which Connect adds and keeps alive."""
    return list(connect("GET", f"connections/{connection}/proxy/inspections", sort="newest")["inspections"])


class Webhooks:
    """What Connect has posted here. Yours: a table, with `webhook-id` as its key."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.secret = b""

    def subscribe(self) -> None:
        """Has Connect post here. The endpoint of the last start goes: its secret was shown then, and not kept."""
        for endpoint in connect("GET", "webhook-endpoints", limit="100")["items"]:
            if endpoint["url"] == HOOK_URL:
                connect("DELETE", f"webhook-endpoints/{endpoint['code']}")
        made = connect("POST", "webhook-endpoints", {"url": HOOK_URL, "types": ["*"], "description": "Lettings Desk"})
        self.secret = base64.b64decode(made["secret"].removeprefix("whsec_"))

    def receive(self, headers: Message, body: bytes) -> bool:
        """Keeps a message, once; whether Connect has signed it lately (Standard Webhooks 1.0)."""
        number, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        signed = hmac.digest(self.secret, f"{number}.{sent_at}.".encode() + body, "sha256")
        expected = b"v1," + base64.b64encode(signed)
        # Two while one secret replaces another.
        given = headers.get("webhook-signature", "").encode().split()
        is_ours = bool(self.secret) and any(hmac.compare_digest(expected, one) for one in given)
        if not is_ours or abs(time.time() - int(sent_at)) > OLDEST_WEBHOOK:
            return False
        self.messages.setdefault(number, json.loads(body))  # it may come twice
        return True

    def about(self, user: User) -> list[dict[str, Any]]:
        """The latest messages about this user's company, newest first."""
        mine = [
            message
            for message in self.messages.values()
            if (message["data"].get("customer") or {}).get("external_id") == user.company_id
        ]
        return mine[: -MOST_SHOWN - 1 : -1]


WEBHOOKS = Webhooks()
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Lettings Desk</title>
<style>
body {{ font: 1rem/1.5 system-ui; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
form {{ display: inline }}
button {{ font: inherit; padding: .4rem .9rem; border: 0; border-radius: .4rem; background: #0b6e4f; color: #fff }}
table {{ width: 100%; border-collapse: collapse }}
th, td {{ text-align: left; padding: .4rem 0; border-bottom: 1px solid #ddd }}
</style>
<h1>Lettings Desk</h1>
{}
</html>
"""
FORM = """<form method="post" action="{action}"{more}>
<input type="hidden" name="form_token" value="{token}">{buttons}
</form>"""
POPUP = """ target="connect" onsubmit="open('', 'connect', 'popup,width=560,height=760')\""""
# The two windows meet by their origin. `window.opener` is gone: the pages between send Cross-Origin-Opener-Policy.
RELOAD = "<script>new BroadcastChannel('connect').onmessage = () => location.reload()</script>"
CLOSE = "<p>You can close this window.</p><script>new BroadcastChannel('connect').postMessage('done'); close()</script>"


def page_of(session: Session) -> str:
    """What a browser sees: who may sign in; or the user's connections with their inspections; or the button."""
    user = session.user
    if user is None:
        people = [(f'name="user" value="{key}"', f"Sign in as {one.name}") for key, one in USERS.items()]
        return form(session, "/sign-in", *people)
    content = f"<p>{escape(user.name)}, {escape(user.company)}</p>"
    connections = connections_of(user)
    for connection in connections:
        content += f"<h2>{escape(connection['name'])}</h2><p>{escape(connection['state'].replace('_', ' '))}</p>"
        if connection["state"] == "needs_reconnect":
            content += form(session, "/connect", (f'name="connection" value="{connection["code"]}"', "Reconnect"))
        else:
            content += table_of(connection["code"])
    if not connections:
        content += form(session, "/connect", ("", "Connect with SnapInspect"))
        content += form(session, "/connect?popup=1", ("", "Connect in a small window"), more=POPUP) + RELOAD
    content += news_of(user)
    return content + "<hr>" + form(session, "/sign-out", ("", "Sign out"))


def form(session: Session, action: str, *buttons: tuple[str, str], more: str = "") -> str:
    """A form that only this browser's pages can send: of each button its attributes and its words."""
    shown = " ".join(f"<button {attributes}>{escape(words)}</button>" for attributes, words in buttons)
    return FORM.format(action=action, more=more, token=session.form_token, buttons=shown)


def table_of(connection: str) -> str:
    try:
        found = inspections_of(connection)
    except Refused as problem:
        return f"<p>{escape(str(problem))}</p>"
    rows = (f"<tr><td>{escape(one['sTitle'])}</td><td>{escape(one['sStatus'])}</td></tr>" for one in found)
    return f"<table><tr><th>Inspection</th><th>Status</th></tr>{''.join(rows)}</table>"


def news_of(user: User) -> str:
    """What Connect has posted about the user's company."""
    items = ""
    for message in WEBHOOKS.about(user):
        title = (message["data"].get("content") or {}).get("sTitle", "")
        items += f"<li>{escape(message['timestamp'][11:16])} {escape(message['type'])} {escape(title)}</li>"
    return f"<h2>Lately</h2><ul>{items}</ul>" if items else ""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        session, address = self.session(), urlsplit(self.path)
        query = parse_qs(address.query)
        if address.path == "/connected" and session.user and session.connecting:
            try:
                session.message = finish(session, session.user, query.get("session", [""])[0])
            except Refused as problem:
                session.message = str(problem)
            if "popup" in query:
                self.show(CLOSE)
            else:
                self.go("/")
        elif address.path == "/":
            message, session.message = session.message, ""
            said = f'<p role="status"><strong>{escape(message)}</strong></p>' if message else ""
            try:
                self.show(said + page_of(session))
            except Refused as problem:
                self.show(f"{said}<p>{escape(str(problem))}</p>")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MOST_BYTES))
        if self.path == "/webhooks":
            is_ours = WEBHOOKS.receive(self.headers, body)
            self.send_response(HTTPStatus.NO_CONTENT if is_ours else HTTPStatus.UNAUTHORIZED)
            self.end_headers()
            return
        session, address = self.session(), urlsplit(self.path)
        sent = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if not hmac.compare_digest(sent.get("form_token", "").encode(), session.form_token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN)  # another site's form
        elif address.path == "/sign-in":
            # In a new session, so that nobody can have planted it.
            self.start_session(Session(user=USERS.get(sent.get("user", ""))))
            self.go("/")
        elif address.path == "/sign-out":
            self.start_session(Session())
            self.go("/")
        elif address.path == "/connect" and session.user:
            is_popup = "popup" in parse_qs(address.query)
            try:
                self.go(begin(session, session.user, connection=sent.get("connection", ""), is_popup=is_popup))
            except Refused as problem:
                session.message = str(problem)
                self.go("/")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def session(self) -> Session:
        """The session of this browser, a new one if it has none."""
        self.new_cookie = ""
        cookies: SimpleCookie = SimpleCookie()
        with suppress(CookieError):
            cookies.load(self.headers.get("Cookie", ""))
        self.cookie = cookies[COOKIE].value if COOKIE in cookies else ""
        return SESSIONS.get(self.cookie) or self.start_session(Session())

    def start_session(self, session: Session) -> Session:
        SESSIONS.pop(self.cookie, None)
        self.cookie = self.new_cookie = secrets.token_urlsafe(32)
        SESSIONS[self.cookie] = session
        return session

    def show(self, content: str) -> None:
        self.answer(HTTPStatus.OK, {"Content-Type": "text/html; charset=utf-8"}, PAGE.format(content))

    def go(self, address: str) -> None:
        self.answer(HTTPStatus.SEE_OTHER, {"Location": address})

    def answer(self, status: HTTPStatus, headers: dict[str, str], content: str = "") -> None:
        body = content.encode()
        self.send_response(status)
        if self.new_cookie:
            # Lax: Strict would not come along when SnapInspect's and Connect's pages send the browser back.
            headers["Set-Cookie"] = f"{COOKIE}={self.new_cookie}; HttpOnly; SameSite=Lax; Path=/"
        for name, value in {**headers, "Cache-Control": "no-store", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: addresses hold the IDs of connect sessions."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    with suppress(KeyboardInterrupt):
        try:
            WEBHOOKS.subscribe()
        except Refused as problem:
            print(f"No webhooks: {problem}")  # noqa: T201
        server.serve_forever()
