"""The WSGI application: Django behind the wrapper that hides queries with tokens."""

import os

from django.core.wsgi import get_wsgi_application

from connectapp.redaction import HideTokenQueries

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "connectapp.settings")

application = HideTokenQueries(get_wsgi_application())
