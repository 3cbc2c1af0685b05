"""Django's LOGGING: all lines go to the error stream, through the formatter that masks secrets."""

from typing import Any


def log_configuration(*, level: str, as_json: bool, mail_crashes: bool) -> dict[str, Any]:
    """Django's LOGGING. `mail_crashes`: unhandled exceptions of requests are mailed to the operator, too."""
    everything = {"handlers": [], "level": level, "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        # The formatter sees the finished line, tracebacks included: nothing reaches a handler around it.
        "formatters": {"redacted": {"()": "connectapp.redaction.RedactingFormatter", "as_json": as_json}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "redacted"},
            "operator": {"()": "connectapp.crash_reports.OperatorMailHandler"},
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": everything,
            "django.server": everything,
            "django.request": {**everything, "handlers": ["operator"] if mail_crashes else []},
        },
    }
