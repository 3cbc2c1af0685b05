from django.urls import path, re_path

from integrations import webhooks
from integrations.views import (
    activity,
    addresses,
    connect,
    connections,
    event,
    events,
    explorer,
    linked_user,
    operations,
    panels,
    personal,
    replays,
    sign_in,
)

CONNECTION = "c/<slug:code>/connections/<slug:connection_code>/"

urlpatterns = [
    path("c/<slug:code>/", connections.dashboard, name="dashboard"),
    path("c/<slug:code>/connect/", connect.start, name="connect"),
    path("c/<slug:code>/events/", events.events, name="events"),
    path("c/<slug:code>/events.csv", events.export, name="events_export"),
    # Before the events themselves: a code has twelve characters, so none is ever taken for this word.
    path("c/<slug:code>/events/replay/", replays.start, name="replay_many"),
    path("c/<slug:code>/replays/<slug:replay_code>/", replays.replay, name="replay"),
    path("c/<slug:code>/replays/<slug:replay_code>/cancel/", replays.cancel, name="replay_cancel"),
    path("c/<slug:code>/events/<slug:event_code>/", event.event, name="event"),
    path("c/<slug:code>/events/<slug:event_code>/replay/", event.replay, name="event_replay"),
    path("c/<slug:code>/explorer/", explorer.explorer, name="explorer"),
    path("staff/", operations.office, name="office"),
    path("staff/operations/", operations.page, name="operations"),
    path("staff/operations.json", operations.as_json, name="operations_json"),
    path("staff/explorer/<slug:connection_code>/", explorer.for_staff, name="staff_explorer"),
    path("staff/registration/", addresses.registration, name="registration"),
    path("c/<slug:code>/personal/", personal.start, name="personal_start"),
    path(CONNECTION + "token/", personal.give, name="personal_token"),
    path(CONNECTION + "webhook/", addresses.own, name="webhook_address"),
    path(CONNECTION + "webhook/replace/", addresses.put_in_use, name="webhook_address_replace"),
    path(CONNECTION + "activity/", activity.activity, name="activity"),
    path(CONNECTION + "activity.csv", activity.export, name="activity_export"),
    path(CONNECTION + "card/", connections.card, name="connection_card"),
    path(CONNECTION + "panels/<slug:panel_code>/", panels.panel, name="panel"),
    path(CONNECTION + "test/", connections.test, name="connection_test"),
    path(CONNECTION + "checks/<int:pk>/", connections.check, name="check"),
    path(CONNECTION + "reconnect/", connect.start, name="reconnect"),
    path(CONNECTION + "answer/", connect.answer, name="connection_answer"),
    path(CONNECTION + "replace-tokens/", connections.replace_tokens, name="replace_tokens"),
    path(CONNECTION + "disconnect/", connections.disconnect, name="disconnect"),
    # With or without the last slash: a redirect would carry the browser on with its query cut off.
    re_path(r"^connect/callback/?$", connect.callback, name="connect_callback"),
    path("connect/ended/<slug:ending>/", connect.ended, name="connect_ended"),
    path("accounts/snapinspect/", linked_user.page, name="snapinspect_user"),
    path("accounts/snapinspect/link/", linked_user.link, name="snapinspect_user_link"),
    path("accounts/snapinspect/unlink/", linked_user.unlink, name="snapinspect_user_unlink"),
    path("accounts/snapinspect/sign-in/", sign_in.start, name="sign_in_with_snapinspect"),
    path("accounts/snapinspect/signing-in/", sign_in.signing_in, name="signing_in"),
    # SnapInspect's server would not follow a redirect to the address with a slash either.
    re_path(r"^webhooks/snapinspect/(?P<secret>[^/]+)/?$", webhooks.receive, name="webhook"),
]
