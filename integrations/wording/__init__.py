"""What people read when something did not go as they wished: one calm sentence each, no jargon, no error text."""

from integrations.wording.happenings import EVENT_TYPES, event_sentence, event_summary
from integrations.wording.returns import CONNECTED_BEFORE, ENDINGS, LINKS, NOT_LINKED, NOT_SIGNED_IN, connected
from integrations.wording.trail import ACTIVITY, activity, activity_choices
from integrations.wording.troubles import EVENT_TROUBLE, TROUBLE, event_trouble, panel_trouble, trouble

__all__ = [
    "ACTIVITY",
    "CONNECTED_BEFORE",
    "ENDINGS",
    "EVENT_TROUBLE",
    "EVENT_TYPES",
    "LINKS",
    "NOT_LINKED",
    "NOT_SIGNED_IN",
    "TROUBLE",
    "activity",
    "activity_choices",
    "connected",
    "event_sentence",
    "event_summary",
    "event_trouble",
    "panel_trouble",
    "trouble",
]
