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
        "You did not allow access. Nothing was saved, and nothing has changed.",
    ),
    "unknown": Words(
        "We do not recognise this link",
        "Nothing was changed. Start again from your dashboard.",
    ),
    "hosted-over": Words(
        "This page belongs to another browser",
        "Nothing was changed. Go back to where you pressed Connect, in the browser that you used there.",
    ),
    "hosted-none": Words(
        "Not connected",
        "SnapInspect gave no access. Nothing was changed. Go back to where you pressed Connect to try again.",
    ),
    "used": Words(
        "This link was already used",
        "Your dashboard shows the connection. If it does not, start again there.",
    ),
    "expired": Words(
        "This link has expired",
        f"The link to SnapInspect works for {STATE_LIFETIME}. Nothing was changed. Start again.",
    ),
    "other-person": Words(
        "Someone else started this connection",
        "Sign in as the person who started it. Nothing was changed.",
    ),
    "other-browser": Words(
        "This connection was started in another browser or session",
        "Finish in the browser where you started. If you signed in again or changed your password, start again."
        " Nothing was changed.",
    ),
    "signed-out": Words(
        "You are not signed in",
        "You were signed out while you were at SnapInspect. Nothing was saved. Sign in and start again.",
    ),
    "not-allowed": Words(
        "You can no longer connect for this company",
        "Your role has changed. Nothing was saved. Ask an owner of the company.",
    ),
    "no-token": Words(
        "SnapInspect did not grant access",
        "Nothing was saved. Try again.",
    ),
    "garbled": Words(
        "We could not read SnapInspect's answer",
        "Nothing was saved. Try again. If this happens again, contact support.",
    ),
    "setup": Words(
        "This app is not set up correctly",
        "Nothing was saved. Our support team needs to fix this. Try again later.",
    ),
    "sign-in-over": Words(
        "This sign-in has expired",
        f"It was started in another browser, already used, or took longer than {STATE_LIFETIME}. Start again.",
    ),
    "sign-in-declined": Words("You are not signed in", "You did not allow access. Nothing was saved."),
    "sign-in-garbled": Words(
        "You are not signed in",
        "We could not read SnapInspect's answer. Try again, or use your password.",
    ),
    "link-over": Words(
        "This link has expired",
        "It was started by someone else or in another browser, already used, or took longer than"
        f" {STATE_LIFETIME}. Nothing was changed. Start again in Account menu → SnapInspect.",
    ),
    "link-declined": Words("Not linked", "You did not allow access. Nothing was saved."),
    "link-garbled": Words("Not linked", "We could not read SnapInspect's answer. Nothing was saved. Try again."),
}

# Why nobody was signed in with SnapInspect. Never tells whether an e-mail address is known here.
_TRY_AGAIN = "Try again in a moment, or sign in with your email address and password."
NOT_SIGNED_IN = {
    "unknown": Words(
        "This SnapInspect login is not linked yet",
        "Sign in with your email address and password. Then open Account menu → SnapInspect and link your"
        " SnapInspect login.",
    ),
    "second-factor": Words(
        "You need a second factor first",
        "Staff need a second factor to sign in with SnapInspect. Sign in with your email address and password, and set"
        " one up under Security.",
    ),
    "nameless": Words("SnapInspect did not say who you are", _TRY_AGAIN),
    "refused": Words("SnapInspect refused the access", _TRY_AGAIN),
    "unreachable": Words("SnapInspect did not answer", _TRY_AGAIN),
    "setup": ENDINGS["setup"],
}
# Why a SnapInspect user was not linked, for the page that has the button.
NOT_LINKED = {
    "taken": "Someone else has already linked this SnapInspect login. Nothing was changed.",
    "other": "You have already linked another SnapInspect login. Unlink it first.",
    "nameless": "SnapInspect did not say who you are. Nothing was linked.",
    "refused": "SnapInspect refused the access. Nothing was linked. Try again.",
    "unreachable": "SnapInspect did not respond. Nothing was linked. Try again in a moment.",
    "setup": ENDINGS["setup"].text,
}
# Why a colleague's link cannot be used.
LINK_ENDINGS = {
    "used": Words(
        "This link was already used",
        "Your dashboard shows the result. Ask the person who sent it for a new link if you need one.",
    ),
    "expired": Words(
        "This link has expired",
        f"It works for {LINK_LIFETIME}. Ask for a new link, or connect from the dashboard.",
    ),
    "withdrawn": Words(
        "This link no longer works",
        "The person who created it can no longer connect for this company. You can connect from the dashboard.",
    ),
}

NOT_RECONNECTED = "SnapInspect refused the new access. This connection works as before."
CONNECTED_BEFORE = "This company is already connected. We renewed its existing connection."


def company(name: str, company_id: str) -> str:
    """A company as a sentence names it: by the name that SnapInspect gave, with its ID."""
    named = name or "a company whose name SnapInspect did not tell"
    return f"{named} (company {company_id})" if company_id else named


def company_in_short(name: str, company_id: str) -> str:
    """The same on a button."""
    return name or (f"company {company_id}" if company_id else "the other company")


def connected(company_id: str, *, has_events: bool) -> str:
    """The message when a connection has been connected."""
    told = f"Connected to company {company_id}." if company_id else "Connected."
    return told if has_events else f"{told} Upload a test inspection at SnapInspect to see your first event."
