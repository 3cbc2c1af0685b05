"""Finds out whose trouble a refusal is: the connection's own, SnapInspect's, or this app's.

Only the fact that SnapInspect accepts or refuses another connection is used. Nothing that it answers about one customer
is stored or shown for another.
"""

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac

from integrations.models import Connection, ExchangeStatus, TokenPair
from integrations.snapinspect.errors import SnapInspectError
from integrations.tokens import custody, proof
from integrations.tokens.encryption import CannotUnseal

# How many other connections are asked, and how long each may take.
MOST_ASKED = 3
SECONDS_EACH = 5.0
# An answer that says "this refresh token is dead" is doubted only if so many others are refused, too.
DOUBTS_REASON = 5
# A refusal of an exchange counts for other connections so long.
COUNTS_FOR = timedelta(days=1)


def accepts_others(connection: Connection, *, at_least: int = 1) -> bool | None:
    """Asks `/user` for other connections. Returns whether SnapInspect accepts one of them.

    None when there are fewer than `at_least` to compare with.
    """
    others = Connection.objects.usable().exclude(pk=connection.pk).filter(pairs__role=TokenPair.Role.CURRENT)
    if others[:at_least].count() < at_least:
        return None
    accepted_last = others.filter(refused_at=None, proved_at__isnull=False).order_by("-proved_at")
    return any(_is_accepted(other) for other in accepted_last[: max(MOST_ASKED, at_least)])


def secret_is_new() -> bool:
    """Returns whether SnapInspect has accepted exchanges with another client secret, and none with this one."""
    accepted = ExchangeStatus.objects.values_list("accepted_secret", flat=True).first()
    return bool(accepted) and accepted != _secret_fingerprint()


def rejects_others(connection: Connection) -> bool:
    """Returns whether SnapInspect has refused the exchange of another connection and accepted no exchange since."""
    refused = TokenPair.objects.filter(error_kind__in=["exchange_rejected", "exchange_refused"])
    refused = refused.exclude(connection=connection).filter(exchange_sent_at__gt=Now() - COUNTS_FOR)
    accepted_at = ExchangeStatus.objects.values_list("accepted_at", flat=True).first()
    return (refused.filter(exchange_sent_at__gt=accepted_at) if accepted_at else refused).exists()


def note_accepted_exchange() -> None:
    """Records that SnapInspect has accepted an exchange, and with that this app's client ID and secret."""
    accepted = {"accepted_at": Now(), "accepted_secret": _secret_fingerprint()}
    ExchangeStatus.objects.update_or_create(pk=1, defaults=accepted)


def _is_accepted(connection: Connection) -> bool:
    try:
        proof.ask(custody.client_for(connection), company_id=connection.company_id, deadline=SECONDS_EACH)
    except (SnapInspectError, custody.NoTokens, CannotUnseal):
        return False
    return True


def _secret_fingerprint() -> str:
    """Keyed, because a client secret may be short enough to be guessed from a plain hash."""
    return salted_hmac(__name__, settings.SNAPINSPECT_CLIENT_SECRET, algorithm="sha256").hexdigest()[:32]
