"""System checks, each with a stable id and a hint that says how to mend it."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Info, Tags, Warning, register


@register(Tags.security)
def registered_with_snapinspect(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.SNAPINSPECT_CLIENT_ID:
        return []
    return [
        Info(
            "This app has no SnapInspect client ID, so Connect is not offered.",
            hint="Register it with SnapInspect and set SNAPINSPECT_CLIENT_ID and SNAPINSPECT_CLIENT_SECRET.",
            id="integrations.I001",
        )
    ]


@register(Tags.security)
def redirect_uri_is_ours(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.SNAPINSPECT_REDIRECT_URI.rstrip("/").endswith("/connect/callback"):
        return []
    return [
        Warning(
            "SNAPINSPECT_REDIRECT_URI does not lead to this app's callback.",
            hint="It is the address of this app followed by /connect/callback/, exactly as registered.",
            id="integrations.W002",
        )
    ]
