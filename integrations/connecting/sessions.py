"""Sessions of the hosted Connect page: for people of the operator's customers who have no account here.

The address holds a secret that is stored as a hash, works for `ConnectSession.LIFETIME` and once. Looking at it changes
nothing, so that a mail scanner's or a chat preview's GET does not use it up. The first browser that presses the button
gets it: by a random cookie, whose hash is stored. The OAuth state is bound to that cookie, too.

Threats. Who opens the address first connects *their* SnapInspect account to that customer, so the operator's back end
hands it to its own signed-in user only, and the page names the customer. A forged POST needs the CSRF token (login
CSRF). A browser's word is none: the operator's back end asks the API what became of the session.
"""

import hashlib
import secrets
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.models import Customer
from integrations.models import ConnectAttempt, Connection, ConnectSession, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import custody

SECRET_BYTES = 32
Status = ConnectSession.Status


def is_allowed_return(address: str) -> bool:
    """Whether `address` begins with an origin, or an app's own scheme, of CONNECT_RETURN_ORIGINS."""
    if len(address) > ConnectSession.LONGEST_RETURN or not address.isascii() or not address.isprintable():
        return False
    if set(address) & set('\\ "<>^`{|}#'):
        return False  # browsers and urlsplit disagree about some of these
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    if parts.scheme in {"http", "https"}:
        return f"{parts.scheme}://{parts.netloc}" in settings.CONNECT_RETURN_ORIGINS
    return f"{parts.scheme}:" in settings.CONNECT_RETURN_ORIGINS


def issue(
    *, customer: Customer, connection: Connection | None, return_to: str, by: audit.Actor
) -> tuple[ConnectSession, str]:
    """A new session, and the secret of its address, which is not readable later. connection: the one to reconnect."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        session = ConnectSession.objects.create(
            secret_hash=_hash(secret), customer=customer, connection=connection, return_to=return_to
        )
        session.refresh_from_db()
        audit.record("connect_session.made", customer=customer, actor=by, subject=connection.code if connection else "")
    return session, secret


def find(secret: str) -> ConnectSession | None:
    """The session of this address, used or not."""
    sessions = ConnectSession.objects.select_related("customer", "connection")
    return sessions.filter(secret_hash=_hash(secret)).first()


def find_started(code: str, browser: str) -> ConnectSession | None:
    """The session with this code, if this browser has started it."""
    sessions = ConnectSession.objects.select_related("customer", "connection").exclude(browser_hash="")
    return sessions.filter(code=code, browser_hash=_hash(browser)).first() if browser else None


def has_started(browser: str) -> bool:
    """Whether this browser has started a session that may still end."""
    unfinished = ConnectSession.objects.recent().unfinished()
    return bool(browser) and unfinished.filter(browser_hash=_hash(browser)).exists()


def is_open_to(session: ConnectSession, browser: str) -> bool:
    """Whether this browser may press the button: nobody has, or it has itself, and has not come back yet."""
    mine = session.browser_hash in {"", _hash(browser)}
    return mine and ConnectSession.objects.recent().unfinished().filter(pk=session.pk).exists()


def start(session: ConnectSession, browser: str) -> bool:
    """Gives the session to this browser; True for one of two browsers at the same moment."""
    rows = ConnectSession.objects.recent().unfinished().filter(pk=session.pk)
    rows = rows.filter(browser_hash__in=["", _hash(browser)])
    return rows.update(browser_hash=_hash(browser), status=Status.STARTED) == 1


def receive(session: ConnectSession, attempt: ConnectAttempt, pair: token_pair.TokenPair) -> bool:
    """Takes the pair that came back, in the caller's transaction; whether this session still waited for one."""
    if ConnectSession.objects.unfinished().filter(pk=session.pk).update(pair=0) != 1:
        return False
    connection = custody.receive(attempt, pair)
    row = TokenPair.objects.candidates().get(connection=connection)
    ConnectSession.objects.filter(pk=session.pk).update(pair=row.pk, connection=connection)
    audit.record("connect.allowed", customer=session.customer, subject=connection.code)
    return True


def end(session: ConnectSession, status: "ConnectSession.Status") -> None:
    """Ends a session that brought no tokens."""
    if ConnectSession.objects.unfinished().filter(pk=session.pk).update(status=status) == 1:
        subject = session.connection.code if session.connection else ""
        audit.record(f"connect.{status}", customer=session.customer, subject=subject)


def drop(session: ConnectSession) -> None:
    """Ends a session whose other company its person did not want."""
    ConnectSession.objects.filter(pk=session.pk).update(status=Status.DECLINED)


def status(session: ConnectSession) -> "ConnectSession.Status":
    """What has become of it by now."""
    session.refresh_from_db()
    if session.status not in {Status.OPEN, Status.STARTED}:
        return Status(session.status)
    if session.pair is not None:
        # The pair of a connect that failed is deleted; one that worked has made the session *connected*.
        return Status.STARTED if TokenPair.objects.filter(pk=session.pair).exists() else _settled(session)
    return Status(session.status) if ConnectSession.objects.recent().filter(pk=session.pk).exists() else Status.EXPIRED


def question(session: ConnectSession) -> Connection | None:
    """The connection that waits for an answer, when SnapInspect's company is another one than before."""
    asking = TokenPair.objects.candidates().filter(pk=session.pair or 0, asks=True).select_related("connection").first()
    return asking.connection if asking else None


def return_address(session: ConnectSession, status: str) -> str:
    """Where the browser goes in the end: `return_to` with the session and its status, and nothing else."""
    joiner = "&" if "?" in session.return_to else "?"
    return f"{session.return_to}{joiner}{urlencode({'session': session.code, 'status': status})}"


def new_browser() -> str:
    """The value of the cookie of a browser that has none."""
    return secrets.token_urlsafe(SECRET_BYTES)


def _settled(session: ConnectSession) -> "ConnectSession.Status":
    """The status of a session whose pair is gone: read once more, since it may just have become *connected*."""
    session.refresh_from_db()
    return Status.FAILED if session.status == Status.STARTED else Status(session.status)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
