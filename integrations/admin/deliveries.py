"""Events, and the deliveries they came from: tables that may hold millions of rows."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from accounts.admin.base import LargeTableAdmin, ReadOnlyInline, WordsFilter, changelist_url, link_column
from accounts.admin.confirmed_actions import confirmed
from accounts.models import User
from integrations import wording
from integrations.admin.pickers import connection_picker
from integrations.events import event_actions, parked
from integrations.models import Attempt, Connection, Delivery, Event, EventDelivery
from integrations.templatetags.event_words import event_badge, event_type, pretty_body, unread_part

MOST_LINKED = 20


class Type(WordsFilter):
    """The documented types of events; the search box finds others."""

    title = parameter_name = "type"
    words = wording.EVENT_TYPES


class LastTrouble(WordsFilter):
    title = "problem"
    parameter_name = "last_error_kind"
    words = wording.EVENT_TROUBLE | wording.TROUBLE


class ByExactWords(LargeTableAdmin):
    """Searched for whole codes, IDs and types, as they are: anything looser would read millions of rows twice."""

    searched: tuple[str, ...] = ()
    search_fields = ("pk",)  # shows the search box

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        # PostgreSQL refuses NUL in text, even to look for it.
        word = search_term.strip().replace("\0", "")
        if not word:
            return queryset, False
        return queryset.filter(Q(*((name, word) for name in self.searched), _connector=Q.OR)), False


class AttemptInline(ReadOnlyInline):
    model = Attempt
    verbose_name_plural = "tries"
    fields = ("at", "why", "status", "duration", "handler")

    @admin.display(description="result")
    def why(self, attempt: Attempt) -> str:
        return wording.event_trouble(attempt.error_kind) if attempt.error_kind else "worked"


@admin.display(description="what")
def what(row: Event | Delivery) -> str:
    return event_type(row.type)


@admin.register(Event)
class EventAdmin(ByExactWords):
    list_display = [
        "received_at", "event_state", what, "inspection_id", link_column("connection"), "attempts", "trouble", "proof",
    ]  # fmt: skip
    list_filter = ["state", ("received_at", admin.DateFieldListFilter), LastTrouble, Type, "proof", "recovered"]
    searched = ("code", "inspection_id", "connection__code", "connection__customer__code", "company_id", "type")
    search_help_text = "Event code, inspection ID, company ID, type, or the code of a connection or customer."
    allowed_lookups = ("connection__customer__id__exact",)
    list_select_related = ["connection"]
    exclude = ["repeat_of", "content", "content_sha256", "body_sha256", "last_error_kind"]
    readonly_fields = ["trouble", "content_bytes"]
    inlines = [AttemptInline]
    actions = ["replay", "ignore"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Event]":
        return Event.objects.defer("content").order_by(*self.ordering)

    def related(self, row: Event) -> Iterable[tuple[str, str]]:
        links = EventDelivery.objects.filter(event=row).order_by("pk").values_list("delivery_id", flat=True)
        ids = ",".join(str(pk) for pk in links[:MOST_LINKED])
        if ids:
            yield "The deliveries it came from", changelist_url(Delivery, id__in=ids)
        yield (
            "All events of this inspection",
            changelist_url(Event, connection__id__exact=row.connection_id, inspection_id__exact=row.inspection_id),
        )

    @admin.display(description="state")
    def event_state(self, event: Event) -> str:
        return event_badge(event)

    @admin.display(description="problem")
    def trouble(self, event: Event) -> str:
        return wording.event_trouble(event.last_error_kind) if event.last_error_kind else "–"

    @admin.display(description="inspection details")
    def content_bytes(self, event: Event) -> str:
        """How much, not what: that is for the customer's own people."""
        return f"{len(event.content)} characters" if event.content else "not fetched"

    @confirmed("Replay", warning="These events are processed again. Completed events run again.")
    def replay(self, event: Event, *, by: User) -> str:
        if not event_actions.replay(event, by=by):
            return "is being processed already, or its connection is disconnected."
        return ""

    @confirmed("Ignore", warning="These events are no longer processed. You can replay them later.")
    def ignore(self, event: Event, *, by: User) -> str:
        return "" if event_actions.ignore(event, by=by) else "is finished already."


class AssignForm(forms.Form):
    """Whose the deliveries are."""

    connection = connection_picker(Delivery, "assigned_to", Connection.objects.shown())


@admin.register(Delivery)
class DeliveryAdmin(ByExactWords):
    list_display = [
        "received_at", "state", "trouble", what, "inspection_id", "company_id", "came_to",
        link_column("assigned_to"),
    ]  # fmt: skip
    list_filter = ["state", ("received_at", admin.DateFieldListFilter), Type]
    searched = ("inspection_id", "company_id", "type", "connection__code")
    search_help_text = "Inspection ID, company ID, type, or the code of the connection whose own address it came to."
    list_select_related = ["assigned_to"]
    fields = [
        "received_at", "state", "trouble", "type", "inspection_id", "review_id", "company_id", "came_to",
        "connection", "assigned_to", "content_type", "unread", "raw",
    ]  # fmt: skip
    readonly_fields = ["came_to", "trouble", "unread", "raw"]
    actions = ["read_again", "assign", "set_aside"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Delivery]":
        return Delivery.objects.order_by(*self.ordering)

    def related(self, row: Delivery) -> Iterable[tuple[str, str]]:
        links = EventDelivery.objects.filter(delivery=row).order_by("pk").values_list("event_id", flat=True)
        ids = ",".join(str(pk) for pk in links[:MOST_LINKED])
        if ids:
            yield "The events it announced", changelist_url(Event, id__in=ids)
        if row.company_id:
            yield "Connections of this company", changelist_url(Connection, company_id__exact=row.company_id)

    @admin.display(description="problem")
    def trouble(self, delivery: Delivery) -> str:
        return wording.DELIVERY_TROUBLE.get(delivery.problem, "–")

    @admin.display(description="unreadable part")
    def unread(self, delivery: Delivery) -> str:
        return unread_part(delivery.body) or "–"

    @admin.display(description="raw body (unverified)")
    def raw(self, delivery: Delivery) -> str:
        return pretty_body(delivery.body)

    @confirmed("Replay", warning="These deliveries are read and processed again.")
    def read_again(self, delivery: Delivery, *, by: User) -> str:
        if not parked.read_again(delivery, by=by):
            return "is waiting or placed already."
        return ""

    @confirmed(
        "Assign",
        warning="These deliveries are treated as this connection's. SnapInspect is still asked with the connection's"
        " own access, and decides.",
        form=AssignForm,
    )
    def assign(self, delivery: Delivery, *, connection: Connection, by: User) -> str:
        if not parked.assign(delivery, connection, by=by):
            return "is placed already, or ignored."
        return ""

    @confirmed("Ignore", warning="These deliveries are not processed, unless somebody presses Replay.")
    def set_aside(self, delivery: Delivery, *, by: User) -> str:
        return "" if parked.ignore(delivery, by=by) else "is placed already, or ignored."
