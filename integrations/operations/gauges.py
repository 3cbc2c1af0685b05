"""The figures of the operations page as gauges for a scrape."""

from datetime import datetime

from integrations.metrics.counters import Gauge
from integrations.operations import status


def read() -> list[Gauge]:
    """The gauges of this moment; as many queries as the operations page. Raises DatabaseError."""
    seen = status.read()
    most = f"stops at {status.COUNT_LIMIT}"

    def age(since: datetime | None) -> float:
        """Seconds; 0 when nothing waits."""
        return max(0.0, (seen.at - since).total_seconds()) if since else 0.0

    waiting = {
        "delivery": age(seen.delivery_waiting_since),
        "event": age(seen.event_waiting_since),
        "webhook": age(seen.webhook_waiting_since),
    }
    missing = seen.keys.keys() - set(seen.configured_keys)
    gauges = [
        _by("connect_connections", "Connections", "state", seen.connections),
        _by("connect_connection_troubles", "Connections, by what is wrong", "kind", seen.connection_troubles),
        _by("connect_deliveries", f"Deliveries that wait, {most}", "state", seen.deliveries),
        _by("connect_events", f"Events that are open, or ended badly, {most}", "state", seen.events),
        _by("connect_waiting_seconds", "How long the oldest has waited for a worker", "what", waiting),
        _by("connect_endpoints_failing", "Endpoints failing or off", "whose", seen.endpoints_in_trouble),
        _one("connect_paused_lanes", "Connections whose events wait for SnapInspect", seen.paused_queues),
        _one("connect_workers", "Worker processes that have swept within a minute", len(seen.workers_alive)),
        _one("connect_exchanges_limited", "Whether only few tokens are exchanged", seen.exchanges_limited),
        _one("connect_setup_problems", "Connections that only the operator can mend", seen.setup_problems),
        _one("connect_exchanges_unanswered", "Exchanges whose outcome is unknown", seen.exchanges_unanswered),
        _one("connect_keys_missing", "Keys that sealed something and are not configured", len(missing)),
        _one("connect_mails_waiting", "Notices that should have been sent", seen.mails_waiting),
        _one("connect_mails_waiting_seconds", "How long the oldest of them is owed", age(seen.mails_waiting_since)),
    ]
    if seen.workers:
        newest = age(max(worker.swept_at for worker in seen.workers))
        gauges.append(_one("connect_sweep_age_seconds", "Since a worker last looked after everything", newest))
    return gauges


def _by(name: str, text: str, label: str, values: "dict[str, int] | dict[str, float]") -> Gauge:
    return Gauge(name, text, {str(word): float(value) for word, value in values.items()}, label)


def _one(name: str, text: str, value: float) -> Gauge:
    return Gauge(name, text, {"": float(value)})
