"""How a customer's connections are doing, in one sentence."""

from collections.abc import Sequence

# Of a single connection, by the state that its badge shows.
ALONE = {
    "connecting": "Your connection is being set up.",
    "connected": "Your connection is working.",
    "trouble": "SnapInspect is not answering. Nothing is lost, and we keep trying.",
    "needs_reconnect": "Your connection needs your attention. New inspections are stored until then.",
    "disconnected": "Your connection is disconnected.",
    "setup_problem": "Your connection waits for our support team. Nothing is lost.",
}


def connections_status(badges: Sequence[str], *, need_a_person: int) -> str:
    """The sentence. badges: the state that each connection's badge shows; at least one."""
    if need_a_person and len(badges) > 1:
        verb = "needs" if need_a_person == 1 else "need"
        return f"{need_a_person} of {len(badges)} connections {verb} your attention. Nothing is lost."
    if len(badges) == 1:
        asks = need_a_person and badges[0] != "needs_reconnect"
        return f"{ALONE[badges[0]]} Answer the question below." if asks else ALONE[badges[0]]
    working = sum(badge == "connected" for badge in badges)
    return f"{working} of {len(badges)} connections are working."
