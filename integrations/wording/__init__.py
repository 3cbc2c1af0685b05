"""What people read when something did not go as they wished: one calm sentence each, no jargon, no error text."""

from integrations.wording.audit_trail import ACTIVITY, GROUPS, activity
from integrations.wording.endings import (
    CONNECTED_BEFORE,
    ENDINGS,
    LINK_ENDINGS,
    LINK_LIFETIME,
    NOT_LINKED,
    NOT_RECONNECTED,
    NOT_SIGNED_IN,
    company,
    company_in_short,
    connected,
)
from integrations.wording.errors import (
    DELIVERY_TROUBLE,
    EVENT_TROUBLE,
    NOT_A_PATH,
    TROUBLE,
    event_trouble,
    panel_trouble,
    personal_token_trouble,
    trouble,
)
from integrations.wording.events import EVENT_TYPES, event_sentence, event_summary, status_change
from integrations.wording.overview import connections_status

__all__ = [
    "ACTIVITY",
    "CONNECTED_BEFORE",
    "DELIVERY_TROUBLE",
    "ENDINGS",
    "EVENT_TROUBLE",
    "EVENT_TYPES",
    "GROUPS",
    "LINK_ENDINGS",
    "LINK_LIFETIME",
    "NOT_A_PATH",
    "NOT_LINKED",
    "NOT_RECONNECTED",
    "NOT_SIGNED_IN",
    "TROUBLE",
    "activity",
    "company",
    "company_in_short",
    "connected",
    "connections_status",
    "event_sentence",
    "event_summary",
    "event_trouble",
    "panel_trouble",
    "personal_token_trouble",
    "status_change",
    "trouble",
]
