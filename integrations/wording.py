"""What people read when something did not go as they wished: one calm sentence each, no jargon, no error text."""

from dataclasses import dataclass

from integrations.snapinspect.errors import SENTENCES


@dataclass(frozen=True)
class Words:
    title: str
    text: str


# How a return from SnapInspect can end without a connection; the keys stand in addresses and in the audit trail.
ENDINGS = {
    "declined": Words(
        "Not connected",
        "You chose not to allow access. Nothing was saved, and nothing that was connected before has changed.",
    ),
    "unknown": Words(
        "This link does not belong to a connection you started",
        "Nothing was changed. Start again from your dashboard with the Connect button.",
    ),
    "used": Words(
        "This link was used already",
        "It works once. If you have just connected, your dashboard shows the connection; otherwise start again there.",
    ),
    "expired": Words(
        "That took longer than ten minutes",
        "For your safety the link to SnapInspect works for ten minutes. Nothing was changed. Please start again.",
    ),
    "other-person": Words(
        "Somebody else started this connection",
        "You are signed in as another person than the one who pressed Connect. Nothing was changed.",
    ),
    "other-browser": Words(
        "This connection was started in another browser",
        "Finish it where you pressed Connect, or start again here. Nothing was changed.",
    ),
    "signed-out": Words(
        "You are not signed in",
        "You were signed out while you were at SnapInspect, so nothing was saved. Sign in and start again.",
    ),
    "not-allowed": Words(
        "You may not connect for this customer any more",
        "Your role has changed since you pressed Connect. Nothing was saved. Ask an owner of the account.",
    ),
    "no-token": Words(
        "SnapInspect sent you back without granting access",
        "Nothing was saved, and nothing that was connected before has changed. Please try again.",
    ),
    "garbled": Words(
        "SnapInspect's answer could not be read",
        "It was not what SnapInspect documents, so nothing was saved. Please try again; if it happens again, tell us.",
    ),
    "setup": Words(
        "This app is not set up correctly",
        "Nothing was saved. The people who run it have to look at it; please try again later.",
    ),
}

# Trouble that is on our side, or about an exchange; everything else is said by snapinspect.errors.
OUR_TROUBLE = {
    "exchange_lost": "SnapInspect replaced our access, and its answer was lost on the way.",
    "exchange_refused": "SnapInspect does not accept this app's credentials.",
    "exchange_unanswered": "SnapInspect did not answer when we renewed our access.",
    "cannot_unseal": "The stored access cannot be opened with this app's keys.",
    "many_refused": "SnapInspect refuses many customers at once, so we wait until it is itself again.",
    "no_room": "This app has no room to store new access safely.",
    "busy": "SnapInspect is being asked at this moment; please look again shortly.",
    "reconnect_required": "The people who run this app ended the stored access; please connect again.",
    "nothing_kept": "There is no access to SnapInspect stored here.",
}
TROUBLE: dict[str, str] = {**SENTENCES, **OUR_TROUBLE}


def trouble(error_kind: str) -> str:
    """The sentence for a kind of error; empty for none."""
    return TROUBLE.get(error_kind, "")


# What customers need not know more about than that it is not their doing.
PANEL_TROUBLE = {
    "not_found": "SnapInspect does not offer this for your account.",
    "forbidden": "SnapInspect does not allow your account to see this.",
    "wrong_shape": "SnapInspect answered something else than this panel is made for. Those who run it can mend it.",
    "token_refused": "SnapInspect did not accept our access just now. We are finding out why.",
}


def panel_trouble(error_kind: str) -> str:
    """The sentence for why a panel has nothing new to show."""
    return PANEL_TROUBLE.get(error_kind) or trouble(error_kind)


# The kinds of the audit trail that concern a connection, as its history tells them.
ACTIVITY = {
    "connect.started": "Left for SnapInspect to connect",
    "connect.allowed": "Came back from SnapInspect with access",
    "connect.declined": "Chose not to allow access",
    "connect.connected": "Connected",
    "connect.reconnected": "Reconnected",
    "connect.failed": "Connecting failed: SnapInspect refused what it had given",
    "connect.used": "A link from SnapInspect was used a second time",
    "connect.expired": "Came back from SnapInspect too late",
    "connect.other-browser": "Came back from SnapInspect in another browser",
    "connect.other-person": "Somebody else opened the link from SnapInspect",
    "connect.not-allowed": "Came back from SnapInspect without the right to connect any more",
    "connect.signed-out": "The link from SnapInspect was opened without being signed in",
    "connect.other_company": "Came back with another company than before; nothing was changed",
    "connect.other_company_added": "The other company was added",
    "connect.other_company_dropped": "The other company was not added",
    "personal.started": "Asked for a personal access token",
    "personal.received": "Entered a personal access token",
    "connection.tested": "Tested the connection",
    "connection.connected": "Works again",
    "connection.trouble": "Trouble began",
    "connection.needs_reconnect": "SnapInspect no longer accepts our access, proven",
    "connection.setup_problem": "This app is not set up correctly",
    "connection.disconnected": "Disconnected",
    "connection.check_asked": "Asked for a check",
    "connection.reconnect_required": "Required to connect again",
    "tokens.exchanged": "The access was renewed",
    "tokens.replacing": "Asked for the tokens to be replaced",
    "tokens.kept_aside": "Access that arrived late was kept and is being proven",
    "tokens.erased": "The stored access was erased",
    "webhook_address.issued": "A webhook address of its own was made",
    "webhook_address.replaced": "Its webhook address was replaced",
    "events.exported": "Downloaded a list of events",
    "replay.started": "Had many events processed again",
    "replay.cancelled": "Cancelled the processing of many events",
    "replay.finished": "Many events have been processed again",
    "event.replayed": "Had an event processed again",
    "event.ignored": "Set an event aside",
    "delivery.assigned": "Assigned a delivery to this connection",
    "member.invited": "Invited somebody",
    "invitation.not_sent": "The mail of an invitation could not be sent",
    "invitation.withdrawn": "Withdrew an invitation",
    "member.joined": "Joined the company",
    "member.role_changed": "Changed a role",
    "member.removed": "Removed somebody from the company",
    "member.left": "Left the company",
    "account.closed": "Closed their account",
    "customer.started": "Started the company",
    "customer.renamed": "Renamed the company",
    "notifications.changed": "Changed which mails they get",
    "explorer.asked_by_staff": "Staff of this app asked SnapInspect with this connection, in the explorer",
    "panel.saved": "Changed what a panel shows",
    "panel.deleted": "Deleted a panel",
    "panel.tried_by_staff": "Staff of this app tried a panel with this connection",
    "delivery.read_again": "Had a delivery read again",
    "delivery.ignored": "Set a delivery aside",
    "customer.deleted": "Deleted a customer",
    "person.deleted": "Deleted a person",
    "breaker.opened": "Exchanging was stopped: SnapInspect refuses many at once",
    "breaker.closed": "Exchanging goes on",
}


def activity(kind: str) -> str:
    """What an audit entry of this kind says in a connection's history."""
    return ACTIVITY.get(
        kind, "Came back from SnapInspect without usable access" if kind.startswith("connect.") else kind
    )


EVENT_TYPES = {
    "Create_Inspection": "Inspection uploaded",
    "Update_Inspection_Status": "Inspection status changed",
    "Create_Review": "Review created",
    "Review_Signed": "Review signed",
}

EVENT_STATES = {
    "received": "It has arrived, and will be processed in a moment.",
    "processing": "It is being processed right now.",
    "retrying": "It could not be processed yet (try {attempts} of {most}); we try again by ourselves.",
    "done": "It was processed.",
    "failed": "It could not be processed after {most} tries. Replay tries again from the start.",
    "unmatched": "Nobody here is connected to this company.",
    "ignored": "Somebody decided that nothing is to be done with it.",
}


def event_sentence(state: str, *, attempts: int, most: int) -> str:
    """What an event's state means for who reads it."""
    return EVENT_STATES[state].format(attempts=attempts, most=most)


# Trouble of an event beside the trouble of its connection.
EVENT_TROUBLE = {
    "handler": "The work that this app does with such events failed.",
    "limited": "Too many unknown inspections were asked for; it waits its turn.",
}


def event_trouble(error_kind: str) -> str:
    """The sentence for why an event was not processed."""
    return EVENT_TROUBLE.get(error_kind) or trouble(error_kind) or "It could not be processed."
