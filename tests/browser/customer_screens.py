"""Screens of a customer that need rows. Importing this adds them to SCREENS."""

from datetime import timedelta

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.utils import timezone

from accounts import audit, mail_preferences
from accounts.models import Customer, User
from integrations import wording
from integrations.calls.tables import Cell, Table
from integrations.connecting import links
from integrations.models import (
    Attempt,
    ConnectionTest,
    Delivery,
    Event,
    EventDelivery,
    ExplorerAnswer,
    ExplorerCall,
    Kind,
    LinkedUser,
    OutgoingDelivery,
    Panel,
    Replay,
    State,
)
from integrations.outgoing import delivery_actions, endpoints
from tests.browser.screens import TOKEN, Scene, invitation, screen
from tests.support.many_events import make_events


@screen
def one_connection_with_events(scene: Scene) -> str:
    scene.events(scene.connection(own_name="Harbour Property Management"))
    return f"/c/{scene.acme.code}/"


@screen
def connecting(scene: Scene) -> str:
    scene.connection("", "", state=State.CONNECTING, connected_at=None, proved_at=None)
    return f"/c/{scene.acme.code}/"


@screen
def one_connection_needs_a_person(scene: Scene) -> str:
    scene.events(scene.connection(state=State.NEEDS_RECONNECT, error_kind="token_refused"))
    return f"/c/{scene.acme.code}/"


@screen
def franchise(scene: Scene) -> str:
    scene.franchise()
    return f"/c/{scene.acme.code}/"


@screen
def connections(scene: Scene) -> str:
    scene.franchise()
    return f"/c/{scene.acme.code}/connections/"


@screen
def connection(scene: Scene) -> str:
    connection = scene.connection()
    scene.events(connection)
    for number in range(4):
        kind = "timeout" if number == 2 else ""
        took = timedelta(milliseconds=120 + 80 * number)
        ConnectionTest.objects.create(
            connection=connection, by=scene.bob, duration=took, error_kind=kind, name="Pat Harbour"
        )
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_in_trouble(scene: Scene) -> str:
    soon = timezone.now() + timedelta(minutes=6)
    connection = scene.connection(state=State.TROUBLE, error_kind="timeout", next_check_at=soon)
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_not_set_up(scene: Scene) -> str:
    connection = scene.connection(state=State.SETUP_PROBLEM, error_kind="exchange_refused")
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_disconnected(scene: Scene) -> str:
    connection = scene.connection(state=State.DISCONNECTED)
    audit.record("connection.disconnected", customer=scene.acme, actor=scene.bob, subject=connection.code)
    return f"/c/{scene.acme.code}/connections/{connection.code}/"


@screen
def connection_settings(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/connections/{scene.connection().code}/settings/"


@screen
def connection_activity(scene: Scene) -> str:
    connection = scene.connection()
    for kind in ("connect.started", "connect.allowed", "connect.connected", "connection.tested"):
        audit.record(kind, customer=scene.acme, actor=scene.alice, subject=connection.code)
    return f"/c/{scene.acme.code}/connections/{connection.code}/activity/"


@screen
def link_for_a_colleague(scene: Scene) -> str:
    secret = links.issue(customer=scene.acme, by=scene.bob, connection=scene.connection())
    return f"/c/{scene.acme.code}/connect/links/{secret}/"


@screen
def events_of_every_state(scene: Scene) -> str:
    connection = scene.connection()
    scene.connection("7001", "Harbour Lets, the branch with the long name")
    for number, state in enumerate(Event.State):
        type_ = list(wording.EVENT_TYPES)[number % 4]
        soon = timezone.now() + timedelta(minutes=3)
        make_events(connection, 1, state=state, type=type_, attempts=2, next_attempt_at=soon, inspection_id=str(number))
    return f"/c/{scene.acme.code}/events/"


@screen
def events_filtered_to_nothing(scene: Scene) -> str:
    make_events(scene.connection(), 1)
    return f"/c/{scene.acme.code}/events/?state=failed&since=2026-11-20"


@screen
def events_with_a_senseless_filter(scene: Scene) -> str:
    make_events(scene.connection(), 1)
    return f"/c/{scene.acme.code}/events/?state=nothing&since=yesterday"


@screen
def no_events_before_the_webhook_address_is_known(scene: Scene) -> str:
    scene.connection(kind=Kind.PERSONAL)
    return f"/c/{scene.acme.code}/events/"


@screen
def event_that_is_retried(scene: Scene) -> str:
    soon = timezone.now() + timedelta(minutes=3)
    (event,) = make_events(
        scene.connection(),
        1,
        state=Event.State.RETRYING,
        attempts=2,
        next_attempt_at=soon,
        last_error_kind="handler_failed",
    )
    Attempt.objects.create(event=event, error_kind="server_error", status=503, duration=timedelta(seconds=1.2))
    Attempt.objects.create(event=event, error_kind="handler_failed", duration=timedelta(0), handler="crm.tell")
    for _ in range(2):
        body = b'{"sType": "Create_Inspection", "iInspectionID": 1388563, "iCompanyID": 6847}'
        delivery = Delivery.objects.create(body=body, state=Delivery.State.PLACED)
        EventDelivery.objects.create(event=event, delivery=delivery)
    return f"/c/{scene.acme.code}/events/{event.code}/"


@screen
def replay_of_many_asks_first(scene: Scene) -> str:
    make_events(scene.connection(), 143, state=Event.State.FAILED)
    return f"/c/{scene.acme.code}/events/replay/?state=failed&type=Create_Inspection"


@screen
def replay_of_many_runs(scene: Scene) -> str:
    running = Replay.objects.create(
        customer=scene.acme, by=scene.bob, matched=143, last_event=0, replayed=57, skipped=2
    )
    return f"/c/{scene.acme.code}/replays/{running.code}/"


@screen
def replay_of_many_is_over(scene: Scene) -> str:
    over = Replay.objects.create(
        customer=scene.acme,
        by=scene.bob,
        matched=143,
        last_event=0,
        replayed=141,
        skipped=2,
        finished_at=timezone.now(),
    )
    return f"/c/{scene.acme.code}/replays/{over.code}/"


@screen
def panels(scene: Scene) -> str:
    connection = scene.connection()
    jobs = Panel.objects.create(title="Latest inspections", path="inspections", columns="A: a\nB: b\nC: c\nD: d")
    broken = Panel.objects.create(title="Invoices", path="invoices", columns="Number: number")
    Panel.objects.update(is_active=True)
    cells = [
        Cell("text", "Entry inspection, 12 Harbour Street"),
        Cell("number", "17"),
        Cell("none", ""),
        Cell("yes", ""),
    ]
    rows = [[*cells, Cell("time", "2026-11-24T10:00:00Z"), Cell("json", '{"a":[1,2]}')]] * 3
    account = Table(["Name", "Company"], [[Cell("text", "Pat Harbour"), Cell("text", "6847")]], 1, [], "{}")
    scene.panel_answer(None, connection, table=account.stored())
    labels = ["Inspection", "Number", "Due", "Urgent", "Changed", "Reviews"]
    scene.panel_answer(jobs, connection, table=Table(labels, rows, 312, []).stored(), error_kind="timeout")
    scene.panel_answer(broken, connection, fetched_at=None, error_kind="not_found", status=404)
    User.objects.filter(pk=scene.alice.pk).update(is_staff=True)
    return f"/c/{scene.acme.code}/"


@screen
def panel_on_its_own_page(scene: Scene) -> str:
    connection = scene.connection()
    account = Table(["Name", "Company"], [[Cell("text", "Pat Harbour"), Cell("text", "6847")]], 1, [], "{}")
    scene.panel_answer(None, connection, table=account.stored())
    return f"/c/{scene.acme.code}/connections/{connection.code}/panels/account/"


@screen
def explorer(scene: Scene) -> str:
    connection = scene.connection()
    told = {"customer": scene.acme, "connection": connection, "by": scene.alice}
    ExplorerCall.objects.create(**told, path="nothing/here", status=404, duration=timedelta(seconds=0.02), size=26)
    ExplorerCall.objects.create(**told, path="user", error_kind="timeout")
    call = ExplorerCall.objects.create(**told, path="inspections?sort=newest", status=200, size=1388)
    ExplorerAnswer.objects.create(
        call=call, by=scene.alice, text='{\n  "inspections": [\n    {}\n  ]\n}', is_json=True, is_cut=True
    )
    return f"/c/{scene.acme.code}/explorer/"


@screen
def snapinspect_user_linked(scene: Scene) -> str:
    LinkedUser.objects.create(user=scene.alice, vendor_user_id="501", name="Pat Harbour")
    return "/accounts/snapinspect/"


@screen
def people(scene: Scene) -> str:
    Authenticator.objects.create(user=scene.bob, type=Authenticator.Type.TOTP, data={})
    invitation(scene, "dora@example.com")
    invitation(scene, "a-very-long-address-of-somebody-who-never-answered@lettings.example", days=-1, token="other")
    return f"/c/{scene.acme.code}/people/"


@screen
def remove_somebody(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/people/{scene.acme.memberships.get(user=scene.bob).pk}/remove/"


@screen
def invitation_of_somebody_else(scene: Scene) -> str:
    invitation(scene, "dora@example.com")
    return f"/accounts/invitations/{TOKEN}/"


@screen
def invitation_of_ones_own(scene: Scene) -> str:
    invitation(scene, scene.alice.email)
    return f"/accounts/invitations/{TOKEN}/"


@screen
def audit_log(scene: Scene) -> str:
    connection = scene.connection()
    for kind, actor in (
        ("connect.connected", scene.bob),
        ("connection.trouble", None),
        ("member.invited", scene.alice),
    ):
        audit.record(kind, customer=scene.acme, actor=actor, subject=connection.code, person="dora@example.com")
    return f"/c/{scene.acme.code}/audit/"


@screen
def audit_log_that_finds_nothing(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/audit/?since=yesterday&person=nobody@example.com"


@screen
def thirty_companies(scene: Scene) -> str:
    for number in range(30):
        Customer.objects.create_with_owner(f"Company {number} of a Person with Many Companies", owner=scene.alice)
    return f"/c/{scene.acme.code}/people/"


@screen
def recovery_codes(scene: Scene) -> str:
    TOTP.activate(scene.alice, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(scene.alice)
    return "/accounts/2fa/recovery-codes/"


@screen
def security_with_second_factor(scene: Scene) -> str:
    TOTP.activate(scene.alice, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(scene.alice)
    return "/accounts/2fa/"


def endpoint_with_deliveries(scene: Scene) -> OutgoingDelivery:
    """An endpoint that works again after failures, with a delivery in each state; returns one that failed."""
    endpoint, _ = endpoints.create(
        url="https://hooks.example/connect/a-long-path-that-has-to-break-somewhere",
        types=["inspection.created", "review.signed", "connection.needs_reconnect"],
        customer=scene.acme,
        description="Back office",
        headers={"X-Access": "value"},
        by=scene.alice,
    )
    for state in OutgoingDelivery.State:
        sent = delivery_actions.send_test(endpoint, by=scene.alice)
        sent.timeline.create(error_kind="timeout", duration=timedelta(seconds=15))
        sent.timeline.create(
            status=500,
            duration=timedelta(milliseconds=81),
            answer="Oops",
            answer_headers={"Content-Type": "text/plain"},
        )
        OutgoingDelivery.objects.filter(pk=sent.pk).update(state=state, tries=2, delivered_at=timezone.now())
    return OutgoingDelivery.objects.get(state=OutgoingDelivery.State.FAILED)


@screen
def webhooks(scene: Scene) -> str:
    endpoint_with_deliveries(scene)
    return f"/c/{scene.acme.code}/webhooks/"


@screen
def webhook_endpoint(scene: Scene) -> str:
    return f"/c/{scene.acme.code}/webhooks/{endpoint_with_deliveries(scene).endpoint.code}/"


@screen
def webhook_delivery(scene: Scene) -> str:
    sent = endpoint_with_deliveries(scene)
    return f"/c/{scene.acme.code}/webhooks/{sent.endpoint.code}/deliveries/{sent.code}/"


@screen
def webhook_resend(scene: Scene) -> str:
    endpoint = endpoint_with_deliveries(scene).endpoint
    return f"/c/{scene.acme.code}/webhooks/{endpoint.code}/resend/?since_0=2026-11-20&since_1=10:00"


@screen
def stop_mails(scene: Scene) -> str:
    return mail_preferences.unsubscribe_path(mail_preferences.TROUBLE, scene.acme.memberships.get(user=scene.alice).pk)
