"""Reference points behind the same gunicorn: views without middleware, models and templates.

/insert/          one raw INSERT of the body, committed
/page/<code>/     the facts of the dashboard by raw SQL and string formatting, in a page of the same length
/forward/<path>   SnapInspect's answer, by one kept pool and with a token written into the program
/events/          a hundred events by raw SQL and json.dumps
"""

import html
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import urllib3
from django.conf import settings
from django.core import signing
from django.core.wsgi import get_wsgi_application
from django.db import connection as database
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

SESSION_COOKIE = "__Host-sessionid"
DAYS = 30


@csrf_exempt
def insert(request: HttpRequest) -> HttpResponse:
    with database.cursor() as cursor:
        cursor.execute("INSERT INTO bench_inbox (body) VALUES (%s)", [request.body])
    return HttpResponse(headers={"Content-Length": "0"})


# One for each process: it is used after the fork only.
_pool = urllib3.connectionpool.connection_from_url(settings.SNAPINSPECT_API_URL, maxsize=8)


def forward(request: HttpRequest, below: str) -> HttpResponse:
    answer = _pool.request(
        request.method or "",
        f"/{below}",
        headers={"Authorization": "Bearer access-6847-" + "a" * 50, "Accept": "application/json"},
        redirect=False,
        retries=False,
        timeout=20,
    )
    return HttpResponse(
        answer.data,
        status=answer.status,
        headers={"Content-Type": answer.headers["Content-Type"], "Content-Length": str(len(answer.data))},
    )


def events(request: HttpRequest) -> HttpResponse:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT e.code, c.code, e.type, e.state, e.proof, e.inspection_id, e.review_id, e.company_id, e.received_at"
            " FROM integrations_event e JOIN integrations_connection c ON c.id = e.connection_id"
            " ORDER BY e.id LIMIT 100"
        )
        rows = cursor.fetchall()
    items = [
        {
            "code": code, "connection": connection, "type": type_, "raw_type": type_, "state": state,
            "verified": proof == "verified", "inspection_id": inspection, "review_id": review or None,
            "company_id": company, "received_at": str(received), "content": None,
        }
        for code, connection, type_, state, proof, inspection, review, company, received in rows
    ]  # fmt: skip
    body = json.dumps({"items": items, "next": items[-1]["code"], "cursor": items[-1]["code"]})
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


def page(request: HttpRequest, code: str) -> HttpResponse:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s",
            [request.COOKIES[SESSION_COOKIE], datetime.now(UTC)],
        )
        session = signing.loads(cursor.fetchone()[0], salt="django.contrib.sessions.SessionStore")
        cursor.execute("SELECT id, email FROM accounts_user WHERE id = %s", [session["_auth_user_id"]])
        user, email = cursor.fetchone()
        cursor.execute(
            "SELECT c.id, c.code, c.name, m.role FROM accounts_membership m"
            " JOIN accounts_customer c ON c.id = m.customer_id WHERE m.user_id = %s ORDER BY c.name",
            [user],
        )
        companies = cursor.fetchall()
        customer = next(row for row in companies if row[1] == code)
        cursor.execute(
            "SELECT id, code, state, company_name, proved_at, (SELECT max(received_at) FROM integrations_event e"
            " WHERE e.connection_id = c.id) FROM integrations_connection c WHERE customer_id = %s",
            [customer[0]],
        )
        connections = cursor.fetchall()
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        day = "received_at::date" if database.vendor == "postgresql" else "date(received_at)"
        cursor.execute(
            f"SELECT {day}, state, count(*) FROM integrations_event"
            " WHERE connection_id = %s AND received_at >= %s GROUP BY 1, 2",
            [connections[0][0], today - timedelta(days=DAYS - 1)],
        )
        counted = cursor.fetchall()
        cursor.execute("SELECT code, title FROM integrations_panel WHERE is_active")
        panels = cursor.fetchall()
        cursor.execute(
            "SELECT code, type, inspection_id, inspection_title, received_at, state FROM integrations_event"
            " WHERE connection_id = %s AND repeat_of_id IS NULL ORDER BY received_at DESC, id DESC LIMIT 5",
            [connections[0][0]],
        )
        newest = cursor.fetchall()
    return HttpResponse(_render((email, companies, customer, connections, counted, panels, newest, today)))


Rows = list[tuple[Any, ...]]
# E-mail address, companies, this company, connections, events by day and state, panels, newest events, today.
Facts = tuple[str, Rows, tuple[Any, ...], Rows, Rows, Rows, Rows, datetime]


def _render(facts: Facts) -> str:
    email, companies, customer, connections, counted, panels, newest, today = facts
    days: dict[str, Counter[str]] = {}
    for date, state, events in counted:
        days.setdefault(str(date), Counter())[state] += events
    dates = [today - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    by_day = [(date, days.get(f"{date:%Y-%m-%d}", Counter())) for date in dates]
    top = max(5, *(counts.total() for _, counts in by_day))
    return "".join(
        [
            _MARKUP,
            f"<title>{html.escape(customer[2])}</title><span>{html.escape(email)}</span><ul>",
            *(f'<li><a class="dropdown-item" href="/c/{one[1]}/">{html.escape(one[2])}</a></li>' for one in companies),
            "</ul>",
            *(_card(connection, panels) for connection in connections),
            *(_event(event) for event in newest),
            '<svg viewBox="0 0 30 100">',
            *(_bar(number, date, counts, top) for number, (date, counts) in enumerate(by_day)),
            "</svg><table>",
            *(_row(date, counts) for date, counts in reversed(by_day)),
            "</table></html>",
        ]
    )


def _card(connection: tuple[Any, ...], panels: Rows) -> str:
    _, code, state, company, proved_at, last = connection
    places = "".join(f'<section hx-get="/panels/{panel}/">{html.escape(title)}</section>' for panel, title in panels)
    return (
        f'<section id="connection-{code}"><h2>{html.escape(company)}</h2><span data-badge>{state}</span>'
        f"last proved working <time>{proved_at}</time> last event <time>{last}</time>{places}</section>"
    )


def _event(event: tuple[Any, ...]) -> str:
    code, type_, inspection, title, received_at, state = event
    return (
        f'<li class="list-group-item"><strong>{html.escape(title)}</strong><a href="/c/events/{code}/">'
        f"{html.escape(type_)}</a> {html.escape(inspection)} <time>{received_at}</time> {state}</li>"
    )


def _bar(number: int, date: datetime, counts: Counter[str], top: int) -> str:
    failed, total = counts["failed"], counts.total()
    height, red = 100 * total / top, 100 * failed / top
    return (
        f"<g>\n<title>{date:%a %d %b}: {total} events</title>\n"
        f'<rect class="chart-space" x="{number + 0.15:.3f}" y="0" width="0.7" height="100" />\n'
        f'<rect class="chart-processed" x="{number + 0.15:.3f}" y="{100 - height:.2f}" width="0.7"'
        f' height="{height - red:.2f}" />\n'
        f'<rect class="chart-failed" x="{number + 0.15:.3f}" y="{100 - red:.2f}" width="0.7"'
        f' height="{red:.2f}" />\n</g>\n'
    )


def _row(date: datetime, counts: Counter[str]) -> str:
    total, failed, waiting = counts.total(), counts["failed"], counts["received"] + counts["retrying"]
    cells = "".join(f'<td class="text-end">{number:,}</td>\n' for number in (total, total - failed, waiting, failed))
    return f'<tr>\n<th scope="row" class="fw-normal text-nowrap">{date:%a %d %b %Y}</th>\n{cells}</tr>\n'


# As long as the markup that is the same on every page.
_MARKUP = "<!DOCTYPE html>\n<html>" + "<!-- markup that never changes, as much as a page has of it -->\n" * 330

urlpatterns = [
    path("insert/", insert),
    path("page/<slug:code>/", page),
    path("forward/<path:below>", forward),
    path("events/", events),
]

application = get_wsgi_application()
