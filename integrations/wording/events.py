"""Events in words: what has happened at SnapInspect, and what becomes of it here."""

EVENT_TYPES = {
    "Create_Inspection": "Inspection uploaded",
    "Update_Inspection_Status": "Inspection status changed",
    "Create_Review": "Review created",
    "Review_Signed": "Review signed",
}

CHANGES_STATUS = "Update_Inspection_Status"

# The same as a sentence goes on.
EVENT_CLAUSES = {
    "Create_Inspection": "{inspection} was uploaded",
    CHANGES_STATUS: "the status of {inspection} changed{change}",
    "Create_Review": "a review of {inspection} was created",
    "Review_Signed": "a review of {inspection} was signed",
}


def status_change(type_: str, *, before: str, now: str) -> str:
    """From which status to which, for an event that is about it; empty where neither is known."""
    if type_ != CHANGES_STATUS or not now:
        return ""
    return f"from {before} to {now}" if before else f"to {now}"


def event_summary(
    type_: str, inspection_id: str, *, title: str, change: str, whose: str, times: int, is_verified: bool
) -> str:
    """What has happened, as one sentence.

    title: of the inspection, empty if not known. change: as `status_change` says it.
    times: how often it was delivered; 0 if we found it by asking. is_verified: whether SnapInspect confirmed it; a
    webhook alone is not signed, so anyone with the address could have sent it.
    """
    inspection = f"inspection {inspection_id}" if inspection_id else "an inspection"
    what = EVENT_CLAUSES.get(type_, "something happened to {inspection}").format(
        inspection=f"“{title}” ({inspection})" if title else inspection, change=f" {change}" if change else ""
    )
    if not times:
        return f"We asked SnapInspect for changes at {whose} and found that {what}."
    often = "" if times == 1 else f" {times} times"
    if not is_verified:
        return f"We received an unverified notice{often}: {what} at {whose}."
    return f"SnapInspect told us{often} that {what} at {whose}."


EVENT_STATES = {
    "received": "This event will be processed in a moment.",
    "processing": "This event is being processed.",
    "retrying": "Attempt {attempts} of {most} failed. We will try again automatically.",
    "retrying uncounted": (
        "SnapInspect could not be asked. We will try again automatically. This does not count as an attempt."
    ),
    "waiting": "This event will be processed after you reconnect {waits_for}.",
    "done": "This event was processed.",
    "failed": "Processing failed after {tried}. Replay the event to try again.",
    "unmatched": "No connection matches this company.",
    "ignored": "Someone ignored this event.",
}


def event_sentence(state: str, *, attempts: int, most: int, waits_for: str) -> str:
    """What an event's state means for who reads it.

    waits_for: the connection that has to be reconnected before it can be processed; empty if none has.
    """
    if state in {"received", "retrying"} and waits_for:
        state = "waiting"
    elif state == "retrying" and not attempts:
        state = "retrying uncounted"
    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return EVENT_STATES[state].format(attempts=attempts, most=most, tried=tried, waits_for=waits_for)
