"""Which hosts are this machine, and which webhook addresses can be registered."""

from ipaddress import ip_address
from urllib.parse import urlsplit


def acceptable_webhook(url: str) -> bool:
    """The vendor takes https only; plain http is let through to this machine, for development."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port  # raises ValueError for one that is not a number
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and on_this_machine(host)))


def on_this_machine(host: str) -> bool:
    """Whether a host name or address means the loopback interface."""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
