"""Settings, all from the environment or `.env` (12-factor).

A value that is missing or unsafe raises ImproperlyConfigured with the name of the setting; `manage.py` and
`gunicorn.conf.py` turn that into one line. Every name read here stands in `.env.example` (a test compares both ways).
"""

import logging
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured

from connectapp.environment import ALLOW_INSECURE_LOOPBACK as LOOPBACK_MAY_BE_HTTP
from connectapp.environment import (
    BASE_DIR,
    DEBUG,
    PRODUCTION,
    api_path,
    boolean,
    colour,
    comma_list,
    email_address,
    env,
    form_origins,
    image_address,
    mail_settings,
    member,
    networks,
    origins,
    parsed,
    redirect_uri,
    required,
    return_origins,
    text,
    url,
    url_secret,
    web_page,
)
from connectapp.logs import log_configuration
from connectapp.sqlite3 import OPTIONS as SQLITE_OPTIONS
from integrations.tokens.encryption import parse_keys

# Classes like `ModelAdmin[Any]` can be made at run time, too.
django_stubs_ext.monkeypatch()

STATE_DIR = BASE_DIR / "var"

# --- Django's own ---------------------------------------------------------------------------------------------------

SECRET_KEY = required("SECRET_KEY", development="development-only-key-that-protects-nothing-at-all-000")
if PRODUCTION and (len(SECRET_KEY) < 40 or SECRET_KEY.startswith(("django-insecure", "development-only"))):
    raise ImproperlyConfigured("SECRET_KEY is a development key or shorter than 40 characters.")

# Earlier keys that sessions and links may still be signed by. Stored tokens do not depend on either.
SECRET_KEY_FALLBACKS = comma_list("SECRET_KEY_FALLBACKS", default=[])

LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = comma_list("ALLOWED_HOSTS", default=LOOPBACK_HOSTS if DEBUG else [])
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS is required in production: the host names people use, comma-separated.")
if any("*" in host for host in ALLOWED_HOSTS):
    raise ImproperlyConfigured("ALLOWED_HOSTS must name hosts: a '*' would accept any forged Host header.")
if DEBUG and not set(ALLOWED_HOSTS) <= set(LOOPBACK_HOSTS):
    raise ImproperlyConfigured("ALLOWED_HOSTS may only hold loopback hosts while DEBUG is on.")
CSRF_TRUSTED_ORIGINS = comma_list("CSRF_TRUSTED_ORIGINS", default=[])

APP_NAME = parsed("APP_NAME", str, default="Connect")
OPERATOR_EMAIL = email_address("OPERATOR_EMAIL", development="operator@localhost")
WEB_THREADS = parsed("WEB_THREADS", int, default="8")  # requests that a web process answers at a time
TRUSTED_PROXIES = parsed("TRUSTED_PROXIES", int, default="0")
if TRUSTED_PROXIES < 0:
    raise ImproperlyConfigured("TRUSTED_PROXIES counts proxies: it cannot be negative.")

INSTALLED_APPS = [
    "connectapp.apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    # After what they change in the admin.
    "accounts",
    "integrations",
    "csp",
    "django_htmx",
    # Commands that make test data: not in production, whose image leaves the folder out.
    *(["bench"] if DEBUG and (BASE_DIR / "bench").is_dir() else []),
]

MIDDLEWARE = [
    "connectapp.middleware.RequestId",
    "connectapp.middleware.DatabaseDeadline",
    "connectapp.middleware.MonitoringEndpoints",
    "django.middleware.security.SecurityMiddleware",
    "integrations.webhooks.WebhookMiddleware",
    "integrations.api.middleware.ApiMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "connectapp.middleware.ContentSecurityPolicy",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "accounts.middleware.IgnoreSessionCookie",
    "accounts.middleware.NoStore",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Every view asks for a sign-in unless it says otherwise: a forgotten decorator locks out, it does not let in.
    "accounts.middleware.LoginRequired",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.middleware.VisitorTimeZone",
    "accounts.middleware.MailFailurePage",
    "accounts.middleware.RequireStaffSecondFactor",
]

ROOT_URLCONF, WSGI_APPLICATION = "connectapp.urls", "connectapp.wsgi.application"

BUILTIN_TAGS = ("cached_urls", "extends", "icons", "moments", "numbers", "tables")
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": [f"accounts.templatetags.{name}" for name in BUILTIN_TAGS],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context_processors.page_header",
                "connectapp.context_processors.request_id",
                "integrations.context_processors.attention",
                "integrations.context_processors.connecting",
            ],
        },
    },
]

# --- Where things are kept ------------------------------------------------------------------------------------------

DATABASE_URL = parsed("DATABASE_URL", str, default=f"sqlite:///{STATE_DIR / 'db.sqlite3'}")
if not DATABASE_URL.startswith(("sqlite://", "postgres://", "postgresql://")):
    raise ImproperlyConfigured("DATABASE_URL must begin with sqlite:/// or postgres://.")
DATABASES: dict[str, Any] = {"default": parsed("DATABASE_URL", env.db_url_config, default=DATABASE_URL)}
DATABASE = DATABASES["default"]
DATABASE["ENGINE"] = DATABASE["ENGINE"].replace("django.db.backends.", "connectapp.")
if DATABASE["ENGINE"] == "connectapp.sqlite3":
    DATABASE.setdefault("OPTIONS", {}).update(SQLITE_OPTIONS)
    if DATABASE["NAME"] != ":memory:":
        try:
            Path(DATABASE["NAME"]).parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise ImproperlyConfigured(f"DATABASE_URL: its folder cannot be made ({problem.strerror}).") from None
# Opening a connection costs more than most requests do.
DATABASE |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}
# Where the answer of an exchange is kept until the database has it: beside SQLite's file, or below var/.
SPOOL_DIR = BASE_DIR / (
    env.str("SPOOL_DIR", default="").strip()
    or (
        Path(DATABASE["NAME"]).parent
        if DATABASE["ENGINE"].endswith("sqlite3") and DATABASE["NAME"] != ":memory:"
        else STATE_DIR
    )
    / "spool"
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": parsed("CACHE_URL", env.cache_url_config, default="dbcache://cache")}
if CACHES["default"]["BACKEND"].endswith("DatabaseCache"):
    # With Django's 300, requests from many addresses would evict others' sign-in limits.
    CACHES["default"].setdefault("OPTIONS", {}).setdefault("MAX_ENTRIES", 10_000)

# Without effect, see `integrations.checks`.
TASKS_ENGINE = parsed("TASKS_ENGINE", str, default="db")
REDIS_URL = parsed("REDIS_URL", str, default="redis://127.0.0.1:6379/0")

STATIC_URL, STATIC_ROOT = "static/", STATE_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "connectapp.static_files.StaticFiles"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
if DEBUG:
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # nothing is collected in development, and whitenoise would warn

# --- People ---------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL, LOGIN_REDIRECT_URL = "account_login", "home"
SIGNUP_OPEN = boolean("SIGNUP_OPEN", default=DEBUG)
EMAIL_VERIFICATION = parsed("EMAIL_VERIFICATION", str, default="none" if DEBUG else "mandatory")
if EMAIL_VERIFICATION not in {"mandatory", "optional", "none"}:
    raise ImproperlyConfigured("EMAIL_VERIFICATION must be mandatory, optional or none.")

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = EMAIL_VERIFICATION
_OUR_FORMS = ("login", "signup", "add_email", "change_password", "reset_password", "reset_password_from_key")
ACCOUNT_FORMS = {name: f"accounts.forms.{name.title().replace('_', '')}Form" for name in _OUR_FORMS}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if DEBUG else "https"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # the password again, before an address or the password is changed
ACCOUNT_EMAIL_NOTIFICATIONS = True  # the old address is told, too
USERSESSIONS_ADAPTER = "accounts.account_trail.UserSessionsAdapter"
MFA_ADAPTER = "accounts.second_factors.MFAAdapter"
_KEY_FORMS = ("add", "authenticate", "reauthenticate")
MFA_FORMS = {f"{act}_webauthn": f"accounts.security_keys.{act.title()}Form" for act in _KEY_FORMS}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_TOTP_ISSUER = APP_NAME
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG
# Staff see every customer: in production a password alone does not let them in.
STAFF_NEED_SECOND_FACTOR = PRODUCTION

if PRODUCTION and not text("EMAIL_URL").strip():
    raise ImproperlyConfigured("EMAIL_URL is required in production: the console would print password reset links.")
vars().update(parsed("EMAIL_URL", mail_settings, default="consolemail://"))
DEFAULT_FROM_EMAIL = email_address("DEFAULT_FROM_EMAIL", development="connect@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- SnapInspect ----------------------------------------------------------------------------------------------------

ALLOW_INSECURE_LOOPBACK = LOOPBACK_MAY_BE_HTTP

SNAPINSPECT_CLIENT_ID = text("SNAPINSPECT_CLIENT_ID").strip()
SNAPINSPECT_CLIENT_SECRET = text("SNAPINSPECT_CLIENT_SECRET").strip()
if bool(SNAPINSPECT_CLIENT_ID) != bool(SNAPINSPECT_CLIENT_SECRET):
    raise ImproperlyConfigured("SNAPINSPECT_CLIENT_ID and SNAPINSPECT_CLIENT_SECRET come as a pair: one is missing.")
SNAPINSPECT_REDIRECT_URI = redirect_uri(
    "SNAPINSPECT_REDIRECT_URI",
    default="http://localhost:8000/connect/callback/" if DEBUG else "",
    hosts=ALLOWED_HOSTS,
)
SNAPINSPECT_CONNECT_URL = url(
    "SNAPINSPECT_CONNECT_URL",
    default="https://my.snapinspect.com/integration/SnapInspectConnect",
)
SNAPINSPECT_EXCHANGE_URL = url(
    "SNAPINSPECT_EXCHANGE_URL",
    default="https://my.snapinspect.com/integration/ExchangeToken",
)
SNAPINSPECT_API_URL = url("SNAPINSPECT_API_URL", default="https://api-v3.snapinspect.com/")
SNAPINSPECT_EXCHANGE_ON_CONNECT = boolean("SNAPINSPECT_EXCHANGE_ON_CONNECT", default=True)
SNAPINSPECT_FORM_ORIGINS = origins("SNAPINSPECT_FORM_ORIGINS")
SNAPINSPECT_WEBHOOK_SECRETS = [
    url_secret("SNAPINSPECT_WEBHOOK_SECRETS", secret)
    for secret in comma_list("SNAPINSPECT_WEBHOOK_SECRETS", default=["development-webhook-secret"] if DEBUG else [])
]
if not SNAPINSPECT_WEBHOOK_SECRETS:
    raise ImproperlyConfigured("SNAPINSPECT_WEBHOOK_SECRETS is required in production. See .env.example.")
SNAPINSPECT_INSPECTION_PATH = api_path("SNAPINSPECT_INSPECTION_PATH", "inspection_id")
SNAPINSPECT_CHANGES_PATH = api_path("SNAPINSPECT_CHANGES_PATH", "since")
SNAPINSPECT_TITLE_FIELD = member("SNAPINSPECT_TITLE_FIELD", like="sTitle")
SNAPINSPECT_SIGN_IN_FIELD = member("SNAPINSPECT_SIGN_IN_FIELD", like="iUserID")
if SNAPINSPECT_SIGN_IN_FIELD and not SNAPINSPECT_EXCHANGE_ON_CONNECT:
    # Tokens in a browser's history would stay valid, and who finds them could sign in with them.
    raise ImproperlyConfigured("SNAPINSPECT_SIGN_IN_FIELD needs SNAPINSPECT_EXCHANGE_ON_CONNECT.")
CONNECT_RETURN_ORIGINS = return_origins("CONNECT_RETURN_ORIGINS")
BRAND_LOGO, BRAND_ACCENT = image_address("BRAND_LOGO"), colour("BRAND_ACCENT")
SUPPORT_URL, STATUS_URL = web_page("SUPPORT_URL"), web_page("STATUS_URL")
PRIVACY_URL, TERMS_URL = web_page("PRIVACY_URL"), web_page("TERMS_URL")
API_REQUESTS_A_MINUTE = parsed("API_REQUESTS_A_MINUTE", int, default="600")
if API_REQUESTS_A_MINUTE < 1:
    raise ImproperlyConfigured("API_REQUESTS_A_MINUTE must be at least 1.")
WEBHOOK_ALLOWED_NETWORKS = networks("WEBHOOK_ALLOWED_NETWORKS")
EVENT_HANDLERS = comma_list("EVENT_HANDLERS", default=[])

try:
    TOKEN_ENCRYPTION_KEYS = parse_keys(
        required("TOKEN_ENCRYPTION_KEYS", development="ZGV2ZWxvcG1lbnQga2V5IHRoYXQgaGlkZXMgbm90aGk="),
        forbidden=SECRET_KEY,
    )
except ValueError as problem:
    raise ImproperlyConfigured(f"TOKEN_ENCRYPTION_KEYS: {problem}") from None

# --- Headers and cookies -----------------------------------------------------------------------------------------

SECURE_SSL_REDIRECT = PRODUCTION
# Their views decide about plain http: a redirect would repeat tokens, or turn a POST into a GET.
SECURE_REDIRECT_EXEMPT = [r"^connect/callback/?$", r"^webhooks/", r"^health/", r"^metrics$", r"^api/"]
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
# HSTS for the operator's other subdomains, and browsers' preload list, are the operator's decision.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# In the session, not in a cookie of their own: messages name companies, and must end with the sign-in.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_NAME = "__Host-sessionid" if PRODUCTION else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if PRODUCTION else "csrftoken"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"  # Strict would not arrive with the browser's return from SnapInspect's site

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        **({"img-src": ["'self'", "/".join(BRAND_LOGO.split("/", 3)[:3])]} if "://" in BRAND_LOGO else {}),
        "form-action": ["'self'", *form_origins(SNAPINSPECT_CONNECT_URL, SNAPINSPECT_FORM_ORIGINS)],
    }
}

# Copy buttons and passkeys are allowed; access to a visitor's devices is not.
_ALLOWED = ("clipboard-write", "publickey-credentials-create", "publickey-credentials-get")
_DENIED = ("accelerometer", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer", "microphone")
PERMISSIONS_POLICY = {feature: ["self"] for feature in _ALLOWED} | {
    feature: [] for feature in (*_DENIED, "payment", "usb")
}

# --- Time, language, logs, metrics ----------------------------------------------------------------------------------

LANGUAGE_CODE, TIME_ZONE, USE_I18N = "en", "UTC", False

METRICS_TOKEN = url_secret("METRICS_TOKEN", text("METRICS_TOKEN").strip())
METRICS_DIR = BASE_DIR / parsed("METRICS_DIR", str, default=str(STATE_DIR / "metrics"))
LOG_LEVEL = parsed("LOG_LEVEL", str.upper, default="INFO")
if LOG_LEVEL not in logging.getLevelNamesMapping():
    raise ImproperlyConfigured("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR.")
LOG_FORMAT = parsed("LOG_FORMAT", str, default="text" if DEBUG else "json")
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured("LOG_FORMAT must be text or json.")
LOGGING = log_configuration(level=LOG_LEVEL, as_json=LOG_FORMAT == "json", mail_crashes=PRODUCTION)
DEFAULT_EXCEPTION_REPORTER_FILTER = "connectapp.crash_reports.WithoutValuesFilter"
