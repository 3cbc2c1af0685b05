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
    "sign-in-over": Words(
        "This sign-in cannot be finished",
        "It was started in another browser, was used already, or took longer than ten minutes. Please start again.",
    ),
    "sign-in-declined": Words("You are not signed in", "You chose not to allow access. Nothing was saved."),
    "sign-in-garbled": Words(
        "You are not signed in",
        "SnapInspect's answer was not what it documents, so nothing was saved. Please try again, or use your password.",
    ),
    "link-over": Words(
        "This link cannot be finished",
        "It was started by somebody else or in another browser, was used already, or took longer than ten minutes."
        " Nothing was changed. Start again on your account's SnapInspect page.",
    ),
    "link-declined": Words("Not linked", "You chose not to allow access. Nothing was saved."),
    "link-garbled": Words(
        "Not linked", "SnapInspect's answer was not what it documents, so nothing was saved. Please try again."
    ),
}

# Why nobody was signed in with SnapInspect. Never tells whether an e-mail address is known here.
_TRY_AGAIN = "Please try again in a moment, or sign in with your e-mail address and password. Nothing was saved."
NOT_SIGNED_IN = {
    "unknown": Words(
        "We do not know this SnapInspect user yet",
        "Sign in with your e-mail address and password, and link it on your account's SnapInspect page. From then on"
        " you can sign in with SnapInspect. Nothing was saved.",
    ),
    "second-factor": Words(
        "A second step is needed first",
        "Accounts with access to the administration can sign in with SnapInspect only with a second step. Sign in with"
        " your e-mail address and password, and set one up under Security.",
    ),
    "nameless": Words("SnapInspect did not say who you are", _TRY_AGAIN),
    "refused": Words("SnapInspect did not accept the access that it had just given", _TRY_AGAIN),
    "unreachable": Words("SnapInspect did not answer", _TRY_AGAIN),
    "setup": ENDINGS["setup"],
}
# Why a SnapInspect user was not linked, for the page that has the button.
NOT_LINKED = {
    "taken": "Somebody else here has linked this SnapInspect user. Nothing was changed.",
    "other": "You have linked another SnapInspect user already. Unlink that one first. Nothing was changed.",
    "nameless": "SnapInspect did not say who you are there, so nothing was linked.",
    "refused": "SnapInspect did not accept the access that it had just given. Nothing was linked; please try again.",
    "unreachable": "SnapInspect did not answer. Nothing was linked; please try again in a moment.",
    "setup": ENDINGS["setup"].text,
}
# Why a colleague's link leads no further.
LINKS = {
    "used": Words(
        "This link was used already",
        "It works once. The dashboard shows what became of it; whoever sent it to you can make another one.",
    ),
    "expired": Words(
        "This link is too old",
        "It works for a day. Whoever sent it to you can make another one, or you connect from the dashboard.",
    ),
}

CONNECTED_BEFORE = "This SnapInspect company was connected here before: its connection was renewed, and none was added."


def connected(company_id: str, *, has_events: bool) -> str:
    """What a person reads when the connection that they watched has come to its end."""
    told = f"Connected to company {company_id}." if company_id else "Connected."
    return told if has_events else f"{told} Upload a test inspection at SnapInspect to see your first event."


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
    "needs_reconnect": "This account has to be reconnected before there is anything new.",
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
    "connect.renewed": "Access was renewed when the person who connected showed who they are at SnapInspect",
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
    "link.started": "Left for SnapInspect to link their user there",
    "link.allowed": "Came back from SnapInspect with access",
    "link.linked": "Linked their SnapInspect user",
    "link.unlinked": "Unlinked their SnapInspect user",
    "link.taken": "Could not link a SnapInspect user: somebody else has",
    "link.other": "Could not link a SnapInspect user: another one is linked",
    "link.declined": "Chose not to allow access",
    "sign_in.allowed": "Came back from SnapInspect with access",
    "sign_in.known": "SnapInspect named a linked user, for a sign-in",
    "sign_in.unknown": "SnapInspect named a user whom nobody has linked, for a sign-in",
    "sign_in.signed_in": "Signed in with SnapInspect",
    "sign_in.declined": "Chose not to allow access",
    "personal.started": "Asked for a personal access token",
    "personal.received": "Entered a personal access token",
    "connect_link.made": "Made a link for a colleague to reconnect",
    "connect_link.used": "Followed a colleague's link to reconnect",
    "connection.renamed": "Gave the connection another name",
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
    "tokens.given_up": "Stored access that no key opens any more was given up",
    "recovery.done": "Looked for inspections that were not announced",
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
    "activity.exported": "Downloaded a connection's activity",
    "audit.exported": "Downloaded the audit log",
}
# How leaving for SnapInspect for something else than a Connect may end, too.
ACTIVITY |= {
    f"{kind}.{ending}": f"{purpose}: {words}"
    for kind, purpose in {"link": "Linking a SnapInspect user", "sign_in": "Signing in with SnapInspect"}.items()
    for ending, words in {
        "used": "a link from SnapInspect was used a second time",
        "expired": "came back from SnapInspect too late",
        "other-browser": "came back from SnapInspect in another browser",
        "other-person": "somebody else opened the link from SnapInspect",
        "signed-out": "the link from SnapInspect was opened without a session",
        "garbled": "came back from SnapInspect without usable access",
        "nameless": "SnapInspect named no user",
        "refused": "SnapInspect refused what it had given",
        "unreachable": "SnapInspect did not answer",
        "setup": "this app's keys did not open what came back",
    }.items()
}

# What the kinds are about, by their first word, for choosing one of them.
SUBJECTS = {
    "connect": "Connecting",
    "personal": "Connecting",
    "connection": "Connections",
    "tokens": "Connections",
    "webhook_address": "Connections",
    "event": "Events",
    "delivery": "Events",
    "recovery": "Events",
    "member": "People",
    "invitation": "People",
    "account": "People",
    "customer": "People",
    "notifications": "People",
}


def activity_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """The kinds of the audit trail with their words, under headings, for a select field."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for kind, words in ACTIVITY.items():
        groups.setdefault(SUBJECTS.get(kind.partition(".")[0], "Other"), []).append((kind, words))
    return sorted(groups.items())


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

# The same as a sentence goes on.
HAPPENINGS = {
    "Create_Inspection": "{inspection} was uploaded",
    "Update_Inspection_Status": "the status of {inspection} changed",
    "Create_Review": "a review of {inspection} was created",
    "Review_Signed": "a review of {inspection} was signed",
}


def event_summary(type_: str, inspection_id: str, *, whose: str, times: int) -> str:
    """What has happened, as one sentence. times: how often it was delivered; 0 if it was found by asking."""
    inspection = f"inspection {inspection_id}" if inspection_id else "an inspection"
    what = HAPPENINGS.get(type_, "something happened to {inspection}").format(inspection=inspection)
    if not times:
        return f"We asked SnapInspect what had changed at {whose}, and found that {what}."
    often = "" if times == 1 else f" {times} times"
    return f"SnapInspect told us{often} that {what} at {whose}."


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
    "handler_failed": "The work that this app does with such events failed.",
    "too_many_misses": "Too many unknown inspections were asked for; it waits its turn.",
    "other_company": "SnapInspect says that this inspection belongs to another company.",
    "worker_died": "The work on it was cut off again and again.",
    "internal_error": "Something in this app failed; the people who run it have been told.",
}


def event_trouble(error_kind: str) -> str:
    """The sentence for why an event was not processed."""
    return EVENT_TROUBLE.get(error_kind) or trouble(error_kind) or "It could not be processed."
