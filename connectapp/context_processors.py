from django.http import HttpRequest
from structlog.contextvars import get_contextvars


def request_id(request: HttpRequest | None = None) -> dict[str, str]:
    """The ID of the current request, see connectapp.middleware.RequestId."""
    return {"request_id": get_contextvars().get("request_id", "")}
