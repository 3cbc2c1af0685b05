"""The explorer: any GET of the API for a person who wants to see the answer. Calls are on record, answers are not."""

import shlex
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import Customer, User
from integrations.calls import api_client
from integrations.models import Connection, ExplorerAnswer, ExplorerCall
from integrations.snapinspect import json_text, safe_urls
from integrations.snapinspect.client import RawAnswer


def ask(connection: Connection, path: str, *, by: User) -> ExplorerCall:
    """Makes the call and returns its record; the answer replaces this person's last one (`ExplorerAnswer`).

    Raises BadPath for a path that would leave the API base: nothing was sent, and nothing is recorded.
    """
    call = ExplorerCall(customer=connection.customer, connection=connection, by=by, path=path)
    answer = None
    try:
        answer = api_client.get_raw(connection, path)
    except api_client.NoAnswer as no:
        call.error_kind, call.status = no.error_kind, no.status
    else:
        call.error_kind, call.status, call.size = answer.reported_kind, answer.status, answer.size
        call.duration = timedelta(seconds=answer.seconds)
    with transaction.atomic():
        call.save()
        if answer is None:
            ExplorerAnswer.objects.filter(by=by).delete()
        else:
            text, is_cut = _formatted(answer)
            stored = {"text": text, "is_json": answer.json is not None, "is_cut": is_cut or answer.is_cut}
            # Of two answers at the same moment the one that is stored last stays.
            ExplorerAnswer.objects.update_or_create(by=by, defaults={"call": call, "at": Now(), **stored})
        calls = ExplorerCall.objects.filter(customer=connection.customer).order_by("-pk")
        old = calls[ExplorerCall.KEPT_PER_CUSTOMER :].values_list("pk", flat=True)
        ExplorerCall.objects.filter(pk__in=list(old)).delete()
    return call


def history(customer: Customer) -> list[ExplorerCall]:
    """This customer's calls, latest first."""
    calls = ExplorerCall.objects.filter(customer=customer).select_related("connection", "by")
    return list(calls[: ExplorerCall.KEPT_PER_CUSTOMER])


def last_call(customer: Customer, *, by: User) -> ExplorerCall | None:
    """This person's latest call for this customer."""
    calls = ExplorerCall.objects.filter(customer=customer, by=by)
    return calls.select_related("connection", "by").first()


def answer_to(call: ExplorerCall, *, by: User) -> ExplorerAnswer | None:
    """The answer, if this person made the call and it is still kept."""
    return ExplorerAnswer.objects.readable().filter(call=call, by=by).first()


def as_curl(path: str) -> str:
    """A shell command for the same call. Whoever runs it sets the token: ours is never shown."""
    url = safe_urls.join(settings.SNAPINSPECT_API_URL, path)
    return f'curl -H "Authorization: Bearer $SNAPINSPECT_TOKEN" {shlex.quote(url)}'


def _formatted(answer: RawAnswer) -> tuple[str, bool]:
    """The answer as text for people, and whether it was cut."""
    most = ExplorerAnswer.LONGEST
    if answer.json is not None:
        return json_text.laid_out(answer.json, most=most)
    return answer.text[:most], len(answer.text) > most
