"""Limits that stand in deploy/nginx or in a document are those of the code."""

import re
import runpy

import pytest
from django.conf import settings

from connectapp.redaction import redact
from integrations import webhooks
from integrations.calls import api_client
from integrations.operations import retention
from integrations.snapinspect import authorization, token_pair
from tests.support.running_app import ROOT

pytestmark = pytest.mark.once

NGINX = (ROOT / "deploy" / "nginx" / "connect.conf").read_text(encoding="utf-8")
GUNICORN = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
UNITS = {"k": 1024, "m": 1024 * 1024}


def sizes(directive: str) -> list[int]:
    """Bytes, in the order of the file."""
    return [
        int(n) * UNITS[unit] for n, unit in re.findall(rf"^ *{directive} +(?:\d+ )?(\d+)([km]);", NGINX, re.MULTILINE)
    ]


def test_the_proxy_and_the_guide_have_the_webhooks_limit_and_let_no_form_pass_that_django_refuses() -> None:
    pages, calls, deliveries = sizes("client_max_body_size")

    assert calls == api_client.FORWARD_BYTES
    assert deliveries == webhooks.MOST_BYTES
    assert pages <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"bodies over {deliveries // 1024} KiB at the webhook's address and over {pages // 1024**2} MiB" in guide
    assert f"{calls // 1024**2} MiB at `/api/`" in guide


def test_the_proxy_takes_request_lines_and_keeps_connections_as_gunicorn_does() -> None:
    (line,) = sizes("large_client_header_buffers")
    times = dict(re.findall(r"^ *(keepalive_timeout|proxy_read_timeout) +(\d+)s;", NGINX, re.MULTILINE))

    assert line >= GUNICORN["limit_request_line"] > authorization.MAX_QUERY > 2 * token_pair.LONGEST_TOKEN
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"request lines of {GUNICORN['limit_request_line']:,} bytes" in guide
    assert f"the app reads {authorization.MAX_QUERY:,} characters" in guide
    assert int(times["keepalive_timeout"]) < GUNICORN["keepalive"]
    assert int(times["proxy_read_timeout"]) == GUNICORN["timeout"]


def test_the_proxy_masks_the_paths_that_hold_secrets_as_the_apps_log_does() -> None:
    masked, unlogged = re.findall(r"accounts/\(([^)]+)\)", NGINX)
    assert masked == unlogged
    for path in [*(f"/accounts/{part}/" for part in masked.split("|")), "/connect/links/", "/webhooks/snapinspect/"]:
        assert redact(f"GET {path}a-secret/") == f"GET {path}[redacted]/"
        assert path.strip("/").split("/")[-1] in NGINX


def test_the_guide_to_sizes_names_the_ages_of_the_rules() -> None:
    ages = {rule.what: rule.kept.days for rule in retention.RULES}
    guide = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"events {ages['events']} days, deliveries {ages['deliveries']}." in guide
