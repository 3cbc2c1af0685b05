"""Screens of the operator's staff: the operations page and the admin. Importing this adds them to SCREENS."""

from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone

from accounts import audit
from accounts.models import User
from integrations.models import (
    Connection,
    Delivery,
    Event,
    EventDelivery,
    Panel,
    State,
    Worker,
)
from tests.browser.screens import SCREENS, Scene, invitation, screen
from tests.support.many_events import make_events


def as_staff(scene: Scene) -> Connection:
    """Makes Alice one of the operator's staff, with something of everything to look at; returns a broken connection."""
    User.objects.filter(pk=scene.alice.pk).update(is_staff=True, is_superuser=True)
    broken = scene.connection(
        state=State.NEEDS_RECONNECT, error_kind="reconnect_required", incident_since=timezone.now() - timedelta(hours=2)
    )
    scene.connection("7001", "Harbour Lets, the branch with the long name")
    make_events(broken, 2)
    (failed,) = make_events(
        broken, 1, state=Event.State.FAILED, last_error_kind="handler_failed", inspection_id="1388561"
    )
    body = b'{"sType": "Create_Inspection", "iInspectionID": 1388561, "iCompanyID": 6847}'
    delivery = Delivery.objects.create(body=body, state=Delivery.State.PLACED)
    EventDelivery.objects.create(event=failed, delivery=delivery)
    for kind in ("connect.started", "connect.connected", "connection.reconnect_required"):
        audit.record(kind, customer=scene.acme, actor=scene.alice, subject=broken.code)
    invitation(scene, "dora@example.com")
    Worker.objects.note_sweep("web-1, process 4711")
    return broken


@screen
def operations(scene: Scene) -> str:
    as_staff(scene)
    return "/staff/operations/"


# Lists and pages of the admin that show no row in particular.
STAFF = {
    "admin-index": "/admin/",
    "admin-customers": "/admin/accounts/customer/",
    "admin-people": "/admin/accounts/user/",
    "admin-invitations": "/admin/accounts/invitation/",
    "admin-connections": "/admin/integrations/connection/",
    "admin-connections-that-are-broken": "/admin/integrations/connection/?state__exact=needs_reconnect&q=Harbour",
    "admin-events": "/admin/integrations/event/",
    "admin-deliveries": "/admin/integrations/delivery/",
    "admin-audit-trail": "/admin/accounts/auditentry/",
    "admin-new-panel": "/admin/integrations/panel/add/",
}


def _of_staff(address: str) -> Callable[[Scene], str]:
    def prepare(scene: Scene) -> str:
        as_staff(scene)
        return address

    return prepare


SCREENS |= {name: _of_staff(address) for name, address in STAFF.items()}


@screen
def admin_connection(scene: Scene) -> str:
    return f"/admin/integrations/connection/{as_staff(scene).pk}/change/"


@screen
def admin_customer(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/accounts/customer/{scene.acme.pk}/change/"


@screen
def admin_person(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/accounts/user/{scene.bob.pk}/change/"


@screen
def admin_event(scene: Scene) -> str:
    event = as_staff(scene).events.get(state=Event.State.FAILED)
    return f"/admin/integrations/event/{event.pk}/change/"


@screen
def admin_delivery(scene: Scene) -> str:
    as_staff(scene)
    return f"/admin/integrations/delivery/{Delivery.objects.get().pk}/change/"


@screen
def admin_panel(scene: Scene) -> str:
    as_staff(scene)
    panel = Panel.objects.create(title="Latest inspections", path="inspections", columns="A: a")
    return f"/admin/integrations/panel/{panel.pk}/change/"
