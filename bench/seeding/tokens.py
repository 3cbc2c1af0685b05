"""Token pairs that were not received from SnapInspect."""

from typing import Any

from integrations.models import Connection, TokenPair
from integrations.snapinspect import token_pair
from integrations.tokens import storage


def pair_in_use(connection: Connection, access: str, refresh: str, **fields: Any) -> TokenPair:
    """An unsaved row: these tokens, encrypted, as the pair in use of this connection; `fields` are further columns."""
    columns = storage.columns(token_pair.TokenPair(access, refresh), connection)
    return TokenPair(connection=connection, role=TokenPair.Role.CURRENT, **columns, **fields)
