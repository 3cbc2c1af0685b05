"""Metrics for Prometheus. What to do about them: docs/runbook.md."""

import logging

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from connectapp import health
from integrations.metrics import counters
from integrations.metrics.counters import Gauge
from integrations.operations import gauges

logger = logging.getLogger(__name__)


@login_not_required
@never_cache
@require_safe
def scrape(request: HttpRequest) -> HttpResponse:
    """All metrics in the OpenMetrics format. 404: switched off. 401 (RFC 6750 section 3): not with this token."""
    if not counters.is_enabled():
        return HttpResponseNotFound()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not constant_time_compare(given.strip(), settings.METRICS_TOKEN):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    text, content_type = counters.text(_gauges())
    return HttpResponse(text, content_type=content_type)


def _gauges() -> list[Gauge]:
    """The gauges; without the database only that it is away."""
    parts = health.parts()
    if parts["database"] != "ok":
        parts = {"database": parts["database"]}
    ready = {part: float(state == "ok") for part, state in parts.items()}
    told = [Gauge("connect_ready", "Whether this part allows work", ready, "part")]
    if not ready["database"]:
        return told
    try:
        return told + gauges.read()
    except DatabaseError as problem:
        logger.warning("The rows could not be counted (%s).", type(problem).__name__)
        return told
