"""What is wrong, in one sentence each."""

from integrations.snapinspect import webhook_body
from integrations.snapinspect.errors import SENTENCES

# Trouble that is on our side, or about an exchange; everything else is said by snapinspect.errors.
OUR_TROUBLE = {
    "exchange_lost": "SnapInspect replaced our access, and its answer was lost on the way.",
    "exchange_rejected": "SnapInspect refused to renew our access and did not say why.",
    "new_token_refused": "SnapInspect gave us new access and does not accept it yet; we go on asking.",
    "exchange_unanswered": "SnapInspect did not answer when we renewed our access.",
    "cannot_unseal": "The stored access cannot be opened with this app's keys.",
    "many_refused": "SnapInspect refuses many customers at once, so we wait until it is itself again.",
    "no_room": "This app has no room to store new access safely.",
    "busy": "SnapInspect is being asked at this moment; please look again shortly.",
    "reconnect_required": "The people who run this app ended the stored access; please connect again.",
    "nothing_kept": "There is no access to SnapInspect stored here.",
}
TROUBLE: dict[str, str] = {**SENTENCES, **OUR_TROUBLE}

NOT_A_PATH = (
    "Only a path below SnapInspect's API address can be asked for, such as user or inspections?page=2: no address of"
    " another host, no “..”, no “//” or “@” at the start of a part, no spaces or line ends; write other characters as"
    " percent escapes."
)


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


# Why a delivery was not placed, or which part of it could not be read.
DELIVERY_TROUBLE = webhook_body.PROBLEMS | {
    "too_many": "Too many events of its connection are unfinished; it waits until there are fewer.",
}
# Trouble of an event beside the trouble of its connection.
EVENT_TROUBLE = {
    "handler_failed": "The work that this app does with such events failed.",
    "too_many_misses": "Too many unknown inspections were asked for; it waits its turn.",
    "no_inspection": "SnapInspect answered, but not with an inspection.",
    "other_inspection": "SnapInspect answered with another inspection than the one asked for.",
    "other_company": "SnapInspect says that this inspection belongs to another company.",
    "worker_died": "The work on it was cut off again and again.",
    "internal_error": "Something in this app failed; the people who run it have been told.",
}


def event_trouble(error_kind: str) -> str:
    """The sentence for why an event was not processed."""
    return EVENT_TROUBLE.get(error_kind) or trouble(error_kind) or "It could not be processed."
