"""How a visit to SnapInspect's authorization page can end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    title: str
    text: str


# A test compares these with ConnectAttempt.LIFETIME and ConnectLink.LIFETIME.
STATE_LIFETIME = "ten minutes"
LINK_LIFETIME = "a day"

# How a callback can end without a connection; the keys stand in addresses and in the audit trail.
ENDINGS = {
    "declined": Words(
        "Not connected",
        "You chose not to allow access. Nothing was saved, and nothing that was connected before has changed.",
    ),
    "unknown": Words(
        "This link does not belong to a connection you started",
        "Nothing was changed. Start again from your dashboard with the Connect button.",
    ),
    "hosted-over": Words(
        "This page belongs to another browser",
        "Nothing was changed. Go back to where you pressed Connect, in the browser that you used there.",
    ),
    "used": Words(
        "This link was used already",
        "It works once. If you have just connected, your dashboard shows the connection; otherwise start again there.",
    ),
    "expired": Words(
        f"That took longer than {STATE_LIFETIME}",
        f"For your safety the link to SnapInspect works for {STATE_LIFETIME}. Nothing was changed. Please start again.",
    ),
    "other-person": Words(
        "Somebody else started this connection",
        "You are signed in as another person than the one who pressed Connect. Nothing was changed.",
    ),
    "other-browser": Words(
        "This connection was started in another browser or session",
        "Finish it in the browser where you pressed Connect. If that was here, you have signed in again or changed your"
        " password since: please start again. Nothing was changed.",
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
        f"It was started in another browser or session, was used already, or took longer than {STATE_LIFETIME}."
        " Please start again.",
    ),
    "sign-in-declined": Words("You are not signed in", "You chose not to allow access. Nothing was saved."),
    "sign-in-garbled": Words(
        "You are not signed in",
        "SnapInspect's answer was not what it documents, so nothing was saved. Please try again, or use your password.",
    ),
    "link-over": Words(
        "This link cannot be finished",
        "It was started by somebody else or in another browser or session, was used already, or took longer than"
        f" {STATE_LIFETIME}. Nothing was changed. Start again on your account's SnapInspect page.",
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
# Why a colleague's link cannot be used.
LINK_ENDINGS = {
    "used": Words(
        "This link was used already",
        "It works once. The dashboard shows what became of it; whoever sent it to you can make another one.",
    ),
    "expired": Words(
        "This link is too old",
        f"It works for {LINK_LIFETIME}. Whoever sent it to you can make another one,"
        " or you connect from the dashboard.",
    ),
    "withdrawn": Words(
        "This link no longer works",
        "Whoever made it may not connect for this company any more. You can connect from the dashboard.",
    ),
}

CONNECTED_BEFORE = "This SnapInspect company was connected here before: its connection was renewed, and none was added."


def connected(company_id: str, *, has_events: bool) -> str:
    """The message when a connection has been connected."""
    told = f"Connected to company {company_id}." if company_id else "Connected."
    return told if has_events else f"{told} Upload a test inspection at SnapInspect to see your first event."
