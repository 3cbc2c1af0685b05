"""Events in words: what has happened at SnapInspect, and what becomes of it here."""

EVENT_TYPES = {
    "Create_Inspection": "Inspection uploaded",
    "Update_Inspection_Status": "Inspection status changed",
    "Create_Review": "Review created",
    "Review_Signed": "Review signed",
}

# The same as a sentence goes on.
EVENT_CLAUSES = {
    "Create_Inspection": "{inspection} was uploaded",
    "Update_Inspection_Status": "the status of {inspection} changed",
    "Create_Review": "a review of {inspection} was created",
    "Review_Signed": "a review of {inspection} was signed",
}


def event_summary(type_: str, inspection_id: str, *, whose: str, times: int) -> str:
    """What has happened, as one sentence. times: how often it was delivered; 0 if it was found by asking."""
    inspection = f"inspection {inspection_id}" if inspection_id else "an inspection"
    what = EVENT_CLAUSES.get(type_, "something happened to {inspection}").format(inspection=inspection)
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
