"""Posts what SnapInspect's server posts, and lets time pass for what was received."""

import json
from datetime import timedelta
from typing import Any

import requests
from django.db.models import F
from django.db.models.functions import Now
from django.http import HttpResponse

from integrations.background import jobs
from integrations.models import Connection, Delivery, Event, EventQueue
from tests.settings import SENTINEL
from tests.support.clients import COMPANY_OF_PAT, Sandbox, Visitor, work

NEW, OLD = f"{SENTINEL}-webhook-new", f"{SENTINEL}-webhook-old"
# An inspection of the company 6847, and one of 7001 (integrations/sandbox/inspections.py).
INSPECTION, INSPECTION_OF_OTHER = "1388561", "1388601"


def payload(type_: str | None = "Create_Inspection", inspection: Any = INSPECTION, **more: Any) -> dict[str, Any]:
    """The documented body; numbers where they are numbers."""
    body: dict[str, Any] = {"iInspectionID": int(inspection), "iCompanyID": int(COMPANY_OF_PAT), **more}
    return {"sType": type_, **body} if type_ else body


def path_of(address: str) -> str:
    return "/webhooks/" + address.partition("/webhooks/")[2]


def post(body: Any, secret: str = NEW, **options: Any) -> HttpResponse:
    """SnapInspect's server posts this; bytes go as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = path_of(secret) if "/" in secret else f"/webhooks/snapinspect/{secret}/"
    visitor = Visitor(enforce_csrf_checks=True)
    return visitor.post(path, raw, content_type=options.pop("content_type", "application/json"), **options)  # type: ignore[return-value]


def deliver(*bodies: Any, secret: str = NEW) -> None:
    """Posts these, one after the other, and lets a worker do what is due."""
    for body in bodies:
        assert post(body, secret).status_code == 200
    work()


def upload(sandbox: Sandbox) -> str:
    """The ID of an inspection that a phone has just uploaded."""
    made = sandbox.control("POST", "inspections", {"company": int(COMPANY_OF_PAT), "title": "New"})
    return str(made["iInspectionID"])


def change_status(sandbox: Sandbox, inspection: str, status: str) -> None:
    fields = {"inspection": inspection, "action": "status", "status": status}
    answer = requests.post(f"{sandbox.url}sandbox/inspections", data=fields, timeout=30)
    assert answer.status_code == 200, answer.text


def looks(sandbox: Sandbox, inspection: str = "") -> int:
    """How often an inspection was looked up."""
    return len(sandbox.calls(f"/inspections/{inspection}"))


def later(**by: float) -> None:
    """Moves everything in the inbox into the past, as if that time had gone by, and lets a worker do what is due."""
    gone = timedelta(**by)
    Delivery.objects.update(received_at=F("received_at") - gone)
    Event.objects.update(received_at=F("received_at") - gone, next_attempt_at=F("next_attempt_at") - gone)
    Event.objects.exclude(fetched_at=None).update(fetched_at=F("fetched_at") - gone)
    EventQueue.objects.update(paused_until=None, due_at=Now())
    jobs.work_off(jobs.INBOX)


def state_of(event: Event) -> str:
    return str(Event.objects.get(pk=event.pk).state)


def only_event(connection: Connection | None = None) -> Event:
    return Event.objects.get(**({"connection": connection} if connection else {}))
