"""How gunicorn serves the app; `PORT`, `WEB_WORKERS` and `WEB_THREADS` come from the environment."""

import os
import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from gunicorn.http import message

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "connectapp.settings")
try:
    from connectapp import settings  # a bad setting ends the start here, in one line
    from integrations.snapinspect.authorization import MAX_QUERY
except ImproperlyConfigured as problem:
    sys.exit(f"Configuration: {problem}")


def number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip() or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"Configuration: {name} must be a number from 1 to 65535.")
    return int(text)


wsgi_app = "connectapp.wsgi"
# On TCP, not a unix socket: sign-in limits need a client address.
host = os.environ.get("BIND", "127.0.0.1")
bind = f"{f'[{host}]' if ':' in host else host}:{number('PORT', 8000)}"
workers = number("WEB_WORKERS", 2)
threads = number("WEB_THREADS", settings.WEB_THREADS)
# Threads, and a page for an address that is too long.
worker_class = "connectapp.gunicorn_worker.Worker"
timeout = 60
graceful_timeout = 30
keepalive = 5
# The callback's query holds two tokens; gunicorn alone takes 8,190 at most. Up to this, the app itself says that an
# address is too long, beyond it the worker.
message.MAX_REQUEST_LINE = limit_request_line = 2 * MAX_QUERY
# Which scheme a request came by is Django's to judge (SECURE_PROXY_SSL_HEADER, TRUSTED_PROXIES), not gunicorn's.
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = ""
logger_class = "connectapp.redaction.RedactingGunicornLogger"
# No query and no Referer, should an access log be switched on.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)s'
# gunicorn would keep a control socket in the home folder: nothing is written outside the checkout.
control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """The app is loaded, in one of the web processes: it looks after this host's disk, where no worker may run."""
    # By name: Django had to be set up first.
    import_string("integrations.tokens.spool_recovery.start")()
    import_string("integrations.events.recovery.start_noting_web")()
