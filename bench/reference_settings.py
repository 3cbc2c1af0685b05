"""Django settings of the reference views: the product's database and logging, and nothing else."""

from connectapp.settings import DATABASES, LOG_FORMAT, LOGGING, SECRET_KEY, SNAPINSPECT_API_URL

DATABASES["default"].pop("CONN_HEALTH_CHECKS", None)
DATABASES["default"]["CONN_MAX_AGE"] = 600

ROOT_URLCONF = "bench.reference_views"
ALLOWED_HOSTS = ["localhost"]
MIDDLEWARE: list[str] = []
USE_TZ = True
USE_I18N = False

__all__ = [
    "ALLOWED_HOSTS",
    "DATABASES",
    "LOGGING",
    "LOG_FORMAT",
    "MIDDLEWARE",
    "ROOT_URLCONF",
    "SECRET_KEY",
    "SNAPINSPECT_API_URL",
]
