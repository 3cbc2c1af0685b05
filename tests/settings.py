"""The project's own settings, with an environment for tests: nothing of the machine's environment or `.env` counts.

`DATABASE_URL` alone is taken over: `python -m tests` runs the suite with SQLite and with PostgreSQL.
"""

import os
import secrets
from pathlib import Path

# Everything secret in a test run starts with this: one search finds whatever leaked (tests/support/secret_scan.py).
SENTINEL = os.environ.setdefault("TEST_SENTINEL", f"Sentinel{secrets.token_hex(6)}")

os.environ |= {
    "DEBUG": "true",
    "SECRET_KEY": f"{SENTINEL}-secret-key-" + "k" * 40,
    "TOKEN_ENCRYPTION_KEYS": "dGVzdHMgc2VhbCB0b2tlbnMgd2l0aCB0aGlzIGtleSE=",
    "SNAPINSPECT_CLIENT_ID": "test-client",
    "SNAPINSPECT_CLIENT_SECRET": f"{SENTINEL}-client-secret",
    "SNAPINSPECT_REDIRECT_URI": "http://localhost:8000/connect/callback/",
    "SNAPINSPECT_WEBHOOK_SECRETS": f"{SENTINEL}-webhook-new,{SENTINEL}-webhook-old",
    "SNAPINSPECT_INSPECTION_PATH": "inspections/{inspection_id}",
    "SNAPINSPECT_CHANGES_PATH": "inspections?since={since}",
    "SNAPINSPECT_SIGN_IN_FIELD": "iUserID",
    # The parts of `make test` have one each: a test that sets its clock ahead tidies up what the others wait for.
    "SPOOL_DIR": f"var/spool-{Path(os.environ.get('DATABASE_URL', '')).stem}",
    "EMAIL_VERIFICATION": "none",
    "LOG_LEVEL": "INFO",
}

from connectapp.environment import BASE_DIR  # noqa: E402
from connectapp.settings import *  # noqa: E402, F403
from connectapp.settings import DATABASES, INSTALLED_APPS  # noqa: E402

INSTALLED_APPS = [*INSTALLED_APPS, "tests"]  # for its `flush`
# A file, not memory: threads of one test see each other's rows, as in life. `make test` has one of its own.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(BASE_DIR / "var" / f"test_{Path(DATABASES['default']['NAME']).name}")}
    # Loss of power is tested with the product's own settings (tests/processes/test_power_loss.py).
    OPTIONS = DATABASES["default"]["OPTIONS"]
    OPTIONS["init_command"] = OPTIONS["init_command"].replace("synchronous=FULL", "synchronous=OFF")
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# A file is looked for when it is asked for: each test's browser would begin with a search of all static folders.
WHITENOISE_AUTOREFRESH = True
