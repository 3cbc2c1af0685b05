"""What gunicorn serves: Django, behind the wrapper that takes token-carrying queries out of the request."""

import os

from django.core.wsgi import get_wsgi_application

from connectapp.redaction import SealCallbackQuery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "connectapp.settings")

application = SealCallbackQuery(get_wsgi_application())
