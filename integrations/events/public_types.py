"""The names of event types for the operator's own systems. SnapInspect's `sType` is the raw type behind them."""

OTHER = "event.other"
RAW_TYPES = {
    "inspection.created": "Create_Inspection",
    "inspection.status_changed": "Update_Inspection_Status",
    "review.created": "Create_Review",
    "review.signed": "Review_Signed",
}
_PUBLIC = {raw: name for name, raw in RAW_TYPES.items()}


def public_type(raw: str) -> str:
    """The name of the type; OTHER for a type that the vendor's page does not list."""
    return _PUBLIC.get(raw, OTHER)
