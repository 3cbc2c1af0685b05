"""Runs a command with settings as in production: `python -m tests.commands.production manage.py check --deploy`."""

import os
import subprocess
import sys

ENVIRONMENT = {
    "DEBUG": "false",
    "SECRET_KEY": "a-key-for-checks-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    "ALLOWED_HOSTS": "app.example.com",
    "DATABASE_URL": "sqlite:///var/checks.sqlite3",
    "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
    "DEFAULT_FROM_EMAIL": "connect@example.com",
    "OPERATOR_EMAIL": "operator@example.com",
    "TOKEN_ENCRYPTION_KEYS": "dGVzdHMgc2VhbCB0b2tlbnMgd2l0aCB0aGlzIGtleSE=",
    "SNAPINSPECT_CLIENT_ID": "client",
    "SNAPINSPECT_CLIENT_SECRET": "not-a-secret",
    "SNAPINSPECT_REDIRECT_URI": "https://app.example.com/connect/callback/",
    "SNAPINSPECT_WEBHOOK_SECRETS": "not-a-secret-either",
}

if __name__ == "__main__":
    sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], env=os.environ | ENVIRONMENT, check=False).returncode)
