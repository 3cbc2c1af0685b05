"""What pages show of connections, followed: a page asks whether that has changed, and then loads its parts anew.

A page says in its context what it shows (`shown`). A part of its element #attention asks `states` every few seconds,
which triggers an event there after a change; on that event #attention loads the page and takes itself, #live and #state
from it. The answer replaces the messages: what was said before the change may not be true any more. A connect may end
after `states` saw it go on and before the page is loaded: that request names it, and its answer tells the end, too.
"""

from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.messages.storage.base import Message
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.access import customer_for
from integrations import wording
from integrations.events.selection import fingerprint
from integrations.models import Connection, State
from integrations.views import customer_connections

CHANGED = {"HX-Trigger": "connections-changed"}
# With which a page asks for itself: the connects in progress that it has shown so far.
FINISHING = "Connects-Finishing"


def shown(request: HttpRequest, connections: Collection[Connection], *, of: Connection | None = None) -> dict[str, Any]:
    """Context for a page that shows these connections, all of its customer's; or `of`: this one alone.

    The connections are from `ConnectionQuerySet.shown`.
    """
    finishing = [_attempt(connection) for connection in connections if connection.is_finishing]
    query = {"shown": _version(connections), "of": of.code if of else "", "finishing": ",".join(finishing)}
    ended = set(request.headers.get(FINISHING, "").split(",")) - set(finishing)
    return {
        "states_shown": urlencode({name: value for name, value in query.items() if value}),
        "states_finishing": query["finishing"],
        "endings": _endings(connections, ended),
    }


@require_GET
def states(request: HttpRequest, code: str) -> HttpResponse:
    """Whether what a page shows has changed, and messages about what has ended meanwhile.

    `attention`: how many connections its banner is about, and the first one's code. The rest: see `shown`.
    """
    customer = customer_for(request, code)
    connections = customer_connections.of(customer)
    needing = [connection for connection in connections if connection.needs_a_person]
    has_changed = request.GET.get("attention", "") != (f"{len(needing)}-{needing[0].code}" if needing else "")
    of = request.GET.get("of", "")
    now_shown = [connection for connection in connections if of in {"", connection.code}]
    if "shown" not in request.GET or request.GET["shown"] == _version(now_shown):
        return HttpResponse(status=204, headers=CHANGED if has_changed else {})
    endings = _endings(connections, request.GET.get("finishing", "").split(","))
    answer = render(request, "integrations/partials/endings.html", {"endings": endings})
    answer["HX-Trigger"] = "connections-changed"
    return answer


def _attempt(connection: Connection) -> str:
    """Stands for a connect in progress: the connection's code, and when it was connected last."""
    before = connection.connected_at
    return f"{connection.code}-{before.timestamp() if before else 0}"


def _endings(connections: Collection[Connection], attempts: Iterable[str]) -> list[Message]:
    by_code = {connection.code: connection for connection in connections}
    endings = [_ending(by_code.get(attempt.partition("-")[0]), attempt) for attempt in attempts if attempt]
    return [ending for ending in endings if ending]


def _ending(connection: Connection | None, attempt: str) -> Message | None:
    """The message for a connect that was in progress and has come to its end, where the page would not say it."""
    if connection is None:
        # A second connect of a company that was connected already was merged with the first one.
        return Message(messages.INFO, wording.CONNECTED_BEFORE)
    if connection.state != State.CONNECTED or connection.candidate is not None:
        return None
    if _attempt(connection) == attempt:
        return Message(messages.WARNING, wording.NOT_RECONNECTED)
    return Message(messages.SUCCESS, wording.connected(connection.company_id, has_events=connection.events.exists()))


def _version(connections: Collection[Connection]) -> str:
    """A short hash of all that pages show of these connections and that changes while they are open."""
    return fingerprint(sorted(map(_seen, connections)))


def _seen(connection: Connection) -> list[str]:
    seen: list[object] = [connection.code, connection.label, connection.account_name, connection.badge]
    seen += [connection.error_kind, connection.connected_at, connection.proved_at]
    candidate = connection.candidate
    if candidate is not None:
        seen += [candidate.pk, candidate.asks, candidate.error_kind, candidate.proved_at, candidate.exchanged_at]
    return [str(value) for value in seen]
