"""What is wrong, in one sentence each."""

from integrations.snapinspect import webhook_body
from integrations.snapinspect.errors import SENTENCES

# Trouble that is on our side, or about an exchange; everything else is said by snapinspect.errors.
OUR_TROUBLE = {
    "exchange_lost": "SnapInspect replaced our access, but we did not receive its answer.",
    "exchange_rejected": "SnapInspect refused to renew our access and did not say why.",
    "new_token_refused": "SnapInspect does not accept our new access yet. We will keep trying.",
    "exchange_unanswered": "SnapInspect did not respond when we renewed our access.",
    "cannot_unseal": "The stored access cannot be decrypted with this app's keys.",
    "many_refused": "SnapInspect is refusing many customers. We are waiting until it recovers.",
    "no_room": "This app does not have enough space to store new access.",
    "busy": "A request to SnapInspect is already running. Try again shortly.",
    "reconnect_required": "Our support team reset this connection. Reconnect to continue.",
    "running": "This test got no result. Test again.",
    "nothing_kept": "This connection has no access to SnapInspect.",
}
TROUBLE: dict[str, str] = {**SENTENCES, **OUR_TROUBLE}

NOT_A_PATH = (
    "Enter a path under SnapInspect's API address, such as user or inspections?page=2. It must not contain another"
    " host, “..”, “//”, spaces or line breaks. Write other characters as percent escapes."
)


def trouble(error_kind: str) -> str:
    """The sentence for a kind of error; empty for none."""
    return TROUBLE.get(error_kind, "")


def personal_token_trouble(error_kind: str, *, is_refused: bool) -> str:
    """Why a personal access token was not taken. Whoever typed it can do something about a refusal."""
    if is_refused:
        return "SnapInspect does not accept this token. Copy all of it from the email and try again. Nothing was saved."
    return f"{trouble(error_kind)} We could not check this token, so nothing was saved. Try again in a moment."


# What customers need not know more about than that it is not their doing.
PANEL_TROUBLE = {
    "not_found": "SnapInspect does not offer this for your account.",
    "forbidden": "SnapInspect does not allow your account to see this.",
    "wrong_shape": "SnapInspect sent data that this panel cannot show. Contact support.",
    "token_refused": "SnapInspect did not accept our access. We are checking why.",
    "needs_reconnect": "Reconnect this account to see new content.",
}


def panel_trouble(error_kind: str) -> str:
    """The sentence for why a panel has nothing new to show."""
    return PANEL_TROUBLE.get(error_kind) or trouble(error_kind)


# Why a delivery was not placed, or which part of it could not be read.
DELIVERY_TROUBLE = webhook_body.PROBLEMS | {
    "too_many": "This connection has too many unfinished events. The delivery waits until there are fewer.",
}
# Trouble of an event beside the trouble of its connection.
EVENT_TROUBLE = {
    "handler_failed": "This app could not process the event.",
    "too_many_misses": "SnapInspect did not know many recent inspections. This event waits its turn.",
    "no_inspection": "SnapInspect's response is not an inspection.",
    "other_inspection": "SnapInspect responded with another inspection.",
    "other_company": "SnapInspect says that this inspection belongs to another company.",
    "worker_died": "Processing was interrupted several times.",
    "internal_error": "This app failed. Our support team has been notified.",
}


def event_trouble(error_kind: str) -> str:
    """The sentence for why an event was not processed."""
    return EVENT_TROUBLE.get(error_kind) or trouble(error_kind) or "This event could not be processed."
