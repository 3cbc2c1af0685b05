"""System checks, each with a stable ID and a hint how to fix it."""

import sqlite3
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import DatabaseError, connection

from integrations.calls import limits
from integrations.metrics import counters
from integrations.tokens import keys

# RETURNING came with 3.35, JSON functions in every build with 3.38 (https://www.sqlite.org/changes.html).
OLDEST_SQLITE = (3, 38)


@register(Tags.security)
def registered_with_snapinspect(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
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
def connect_works_under_every_name(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    ours = urlsplit(settings.SNAPINSPECT_REDIRECT_URI).hostname
    others = [host for host in settings.ALLOWED_HOSTS if host not in {ours, *settings.LOOPBACK_HOSTS}]
    if not others:
        return []
    return [
        Warning(
            f"Connect works under {ours} only, not under: {', '.join(others)}.",
            hint="Who presses Connect there is led to the name in SNAPINSPECT_REDIRECT_URI, and signs in again."
            " Redirect the other names to it in your proxy, and take them out of ALLOWED_HOSTS.",
            id="integrations.W002",
        )
    ]


@register(Tags.security)
def threads_are_left_while_snapinspect_hangs(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    most = limits.MAX_CALLS + limits.MAX_DOWNLOADS
    if most < settings.WEB_THREADS:
        return []
    return [
        Warning(
            f"While SnapInspect hangs, all {settings.WEB_THREADS} threads of a web process can be busy.",
            hint=f"Set WEB_THREADS to more than {most}: so many calls and downloads may be under way in one process.",
            id="integrations.W004",
        )
    ]


@register(Tags.security)
def metrics_are_served(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    if counters.is_enabled() or not settings.METRICS_TOKEN:
        return []
    return [
        Warning(
            "METRICS_TOKEN is set, but prometheus-client is not installed: /metrics answers 404.",
            hint="Install the extra: it is in requirements.txt, and in pyproject.toml under the name metrics.",
            id="integrations.W005",
        )
    ]


@register()
def tasks_engine_has_no_effect(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.TASKS_ENGINE == "db":
        return []
    return [
        Warning(
            f"TASKS_ENGINE={settings.TASKS_ENGINE} has no effect: workers look for work in the database.",
            hint="Take TASKS_ENGINE and REDIS_URL out of the environment.",
            id="integrations.W007",
        )
    ]


@register(Tags.caches)
def rate_limits_are_shared(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    kind = settings.CACHES["default"]["BACKEND"].rsplit(".", 1)[-1]
    if settings.DEBUG or kind not in {"LocMemCache", "FileBasedCache", "DummyCache"}:
        return []
    return [
        Warning(
            "Sign-in limits are counted by each process or host for itself, or not at all.",
            hint="Leave CACHE_URL out, which counts in the database, or name a Redis that all hosts share.",
            id="integrations.W006",
        )
    ]


@register()
def sqlite_is_new_enough(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    if connection.vendor != "sqlite" or sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        return []
    return [
        Error(
            f"SQLite {sqlite3.sqlite_version} is too old: webhooks could not be processed.",
            hint=f"Use a Python with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, or PostgreSQL.",
            id="integrations.E008",
        )
    ]


@register(Tags.database)
def needed_keys_are_configured(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Runs before `migrate`, too: a release with a key missing does not go on."""
    if not databases:
        return []
    try:
        missing = keys.missing()
    except DatabaseError:
        return []  # the tables are still to be made
    return [
        Error(
            f"Key {key_id}, which {rows} stored rows are sealed by, is not in TOKEN_ENCRYPTION_KEYS.",
            hint="Add the key again, behind the newest one. If it is lost for good, see docs/keys.md.",
            id="integrations.E003",
        )
        for key_id, rows in missing.items()
    ]
