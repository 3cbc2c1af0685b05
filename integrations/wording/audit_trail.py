"""The audit trail in words."""

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
    "connect.unused_ended": "What came back from SnapInspect and was not used was ended there",
    "connect.other_company": "Came back with another company than before; nothing was changed",
    "connect.other_company_added": "The other company was added",
    "connect.other_company_dropped": "The other company was not added",
    "connect.other_company_lapsed": "Nobody said whether to add the other company: its access was erased",
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
    "tokens.refused": "Access that arrived too late was not used, and erased",
    "tokens.given_up": "Stored access that no key opens any more was given up",
    "recovery.done": "Looked for inspections that were not announced",
    "tokens.erased": "The stored access was erased",
    "api_key.made": "Made an API key",
    "api_key.first_used": "An API key was used for the first time",
    "api_key.revoked": "Revoked an API key",
    "connect_session.made": "Made an address to connect at, through the API",
    "customer.made": "Made the company through the API",
    "customer.changed": "Changed the company through the API",
    "connection.metadata_changed": "Changed the notes of a connection through the API",
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
    "member.set_by_staff": "Staff of this app said what role somebody has here",
    "member.removed_by_staff": "Staff of this app removed somebody from the company",
    "member.left": "Left the company",
    "account.closed": "Closed their account",
    "account.password_changed": "Changed their password",
    "account.password_reset": "Set a new password by a mailed link",
    "account.email_added": "Added an email address",
    "account.email_removed": "Removed an email address",
    "account.email_changed": "Changed their email address",
    "account.second_factor_added": "Added a second factor",
    "account.second_factor_removed": "Removed a second factor",
    "account.second_factor_reset": "Made new recovery codes",
    "account.sessions_ended": "Signed out other browsers",
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
    "exchanges.limited": "Only few tokens are exchanged: SnapInspect refuses many at once",
    "exchanges.not_limited": "SnapInspect does not refuse many any more",
    # Written by earlier versions.
    "breaker.opened": "Exchanging was stopped: SnapInspect refuses many at once",
    "breaker.closed": "Exchanging goes on",
    "activity.exported": "Downloaded a connection's activity",
    "audit.exported": "Downloaded the audit log",
    "customer.exported": "Downloaded everything that is kept for the company",
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
    "connect_session": "Connecting",
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
    "api_key": "API",
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
