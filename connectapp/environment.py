"""Reads settings from the environment or `.env`. A value that is not valid raises ImproperlyConfigured with its name.

Messages never repeat the value: URLs of databases and mail servers hold passwords.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from email.utils import getaddresses
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
import environ
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from django.http.request import split_domain_port, validate_host

from integrations.snapinspect.safe_urls import is_path, is_secure

# The database, the spool and whatever else a process writes is for its own user alone, whatever the shell says.
os.umask(0o077)

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()  # type: ignore[no-untyped-call]
env.read_env(BASE_DIR / ".env")


def text(name: str, default: str = "") -> str:
    """The setting as it is: django-environ would resolve a value that begins with $ as the name of another setting."""
    value = os.environ.get(name, default)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ImproperlyConfigured(f"{name} is not UTF-8.") from None
    return value


def parsed(name: str, by: Callable[[str], Any], *, default: str) -> Any:
    """The setting, or its default when it is empty, converted by the function `by`."""
    try:
        return by(text(name).strip() or default)
    except (ValueError, LookupError, ImproperlyConfigured):
        raise ImproperlyConfigured(f"{name} cannot be read. See .env.example.") from None


def boolean(name: str, *, default: bool) -> bool:
    """A setting that is on or off. Other words are refused, since they would count as off."""
    words = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
    value = text(name).strip().lower()
    if value and value not in words:
        raise ImproperlyConfigured(f"{name} must be true or false.")
    return words.get(value, default)


def comma_list(name: str, *, default: list[str]) -> list[str]:
    """The parts of a comma-separated setting, without spaces around them."""
    return [part.strip() for part in text(name).split(",") if part.strip()] or default


def url_secret(name: str, value: str) -> str:
    """The value, if it is empty, or long enough to be a secret and safe in a URL."""
    if value and not re.fullmatch(r"[A-Za-z0-9_-]{16,200}", value):
        raise ImproperlyConfigured(f"{name} must have at least 16 letters, digits, hyphens and underscores.")
    return value


DEBUG = boolean("DEBUG", default=False)
PRODUCTION = not DEBUG


def required(name: str, *, development: str) -> str:
    """The setting's value; in development it may be missing, in production that is refused."""
    value = text(name).strip()
    if value or DEBUG:
        return value or development
    raise ImproperlyConfigured(f"{name} is required in production (DEBUG is off). See .env.example.")


ALLOW_INSECURE_LOOPBACK = DEBUG or boolean("ALLOW_INSECURE_LOOPBACK", default=False)


def url(name: str, *, default: str = "") -> str:
    """An absolute https URL; http only for loopback hosts with DEBUG or ALLOW_INSECURE_LOOPBACK."""
    value = text(name, default).strip() or default
    if not value:
        raise ImproperlyConfigured(f"{name} is required in production (DEBUG is off). See .env.example.")
    if not is_secure(value, allow_loopback_http=ALLOW_INSECURE_LOOPBACK):
        raise ImproperlyConfigured(
            f"{name} must be an https:// address; http:// is for loopback hosts with DEBUG or ALLOW_INSECURE_LOOPBACK."
        )
    return value


def redirect_uri(name: str, *, default: str, hosts: list[str]) -> str:
    """The absolute URL of this app's callback, on one of these hosts."""
    value = url(name, default=default)
    parts = urlsplit(value)
    if parts.path.rstrip("/") != "/connect/callback":
        raise ImproperlyConfigured(f"{name} must be this app's address followed by /connect/callback/.")
    if not validate_host(split_domain_port(parts.netloc)[0], hosts):
        raise ImproperlyConfigured(f"The host of {name} must be one of ALLOWED_HOSTS.")
    return value


def email_address(name: str, *, development: str) -> str:
    """An e-mail address, with or without a display name; required in production."""
    value = required(name, development=development)
    try:
        ((_, found),) = getaddresses([value])
        validate_email(found)
    except (ValidationError, ValueError):
        raise ImproperlyConfigured(f"{name} must be an e-mail address.") from None
    return value


# Names of a mailer's OPTIONS, by the module of its backend.
_MAILER_OPTIONS = {
    "smtp": {
        "EMAIL_HOST": "host",
        "EMAIL_PORT": "port",
        "EMAIL_HOST_USER": "username",
        "EMAIL_HOST_PASSWORD": "password",
        "EMAIL_USE_TLS": "use_tls",
        "EMAIL_USE_SSL": "use_ssl",
        "EMAIL_TIMEOUT": "timeout",
    },
    "filebased": {"EMAIL_FILE_PATH": "file_path"},
}


def mail_settings(url: str) -> dict[str, Any]:
    """Django's settings that send mail as `url` says (smtp+tls://user:password@host:587).

    Django 5.2 reads EMAIL_…; 6.1 reads MAILERS and warns of EMAIL_…
    (https://docs.djangoproject.com/en/6.1/ref/settings/#mailers). Raises ImproperlyConfigured or ValueError for a URL
    that cannot be read.
    """
    config: dict[str, Any] = env.email_url_config(url)  # type: ignore[no-untyped-call]
    config["EMAIL_TIMEOUT"] = 20  # seconds
    if django.VERSION < (6, 1):
        return config
    backend = config["EMAIL_BACKEND"]
    names = _MAILER_OPTIONS.get(backend.split(".")[-2], {})
    options = {option: config[name] for name, option in names.items() if name in config}
    return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}


# Safe in a Content-Security-Policy: cannot begin another directive, and does not allow all hosts.
_ORIGIN = re.compile(r"https://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?", re.IGNORECASE)
_LOOPBACK = re.compile(r"http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")


def origins(name: str) -> list[str]:
    """Comma-separated origins: scheme, host, optionally a port, no path; `*.` stands for all subdomains."""
    allowed = [_ORIGIN, _LOOPBACK] if ALLOW_INSECURE_LOOPBACK else [_ORIGIN]
    found = comma_list(name, default=[])
    if not all(any(pattern.fullmatch(one) for pattern in allowed) for one in found):
        raise ImproperlyConfigured(f"{name} must name origins: https://host, comma-separated, without a path.")
    return found


def form_origins(connect_url: str, further: list[str]) -> list[str]:
    """The origins a Connect form may lead to: Chromium applies `form-action` to redirects that answer a form POST.

    Sibling hosts only of SnapInspect's own domain: those of another host could be everybody below `co.nz`.
    """
    parts = urlsplit(connect_url)
    siblings = ["https://*.snapinspect.com"] if (parts.hostname or "").endswith(".snapinspect.com") else []
    return [f"{parts.scheme}://{parts.netloc}", *siblings, *further]


# RFC 8252 section 7.1: an app's own scheme is a reversed domain name, so it has a dot and is none of a browser's.
_APP_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:")


def return_origins(name: str) -> list[str]:
    """Where the hosted Connect page may send people back to: https origins, http for loopback, schemes of apps."""
    found = [one.lower() for one in comma_list(name, default=[])]
    for one in found:
        exact = _ORIGIN.fullmatch(one) and "*" not in one
        if not (exact or _LOOPBACK.fullmatch(one) or _APP_SCHEME.fullmatch(one)):
            raise ImproperlyConfigured(
                f"{name} must name origins (https://host; http:// for loopback) or apps' schemes (com.example.app:)."
            )
    return found


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Comma-separated networks in CIDR notation; an address alone is a network of one."""
    try:
        return [ipaddress.ip_network(one) for one in comma_list(name, default=[])]
    except ValueError:
        raise ImproperlyConfigured(f"{name} must name networks like 10.1.0.0/16, comma-separated.") from None


def member(name: str, *, like: str) -> str:
    """The name of a member of a JSON answer; may be empty. like: an example."""
    value = text(name).strip()
    if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", value):
        raise ImproperlyConfigured(f"{name} is the name of one member of SnapInspect's answer, like {like}.")
    return value


def web_page(name: str) -> str:
    """The absolute https address of a page, or a mailto: address; may be empty."""
    value = text(name).strip()
    mail = re.fullmatch(r"mailto:[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+", value)
    if value and not mail and not is_secure(value, allow_loopback_http=ALLOW_INSECURE_LOOPBACK):
        raise ImproperlyConfigured(f"{name} must be an https:// or mailto: address.")
    return value


def image_address(name: str) -> str:
    """A file below static/, or an https URL whose origin may stand in a Content-Security-Policy; may be empty."""
    value = text(name).strip()
    is_file = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_./-]*", value) and (BASE_DIR / "static" / value).is_file()
    if value and "://" not in value and not is_file:
        raise ImproperlyConfigured(f"{name} must be a file below static/ or an https:// address.")
    if "://" in value and not (
        _ORIGIN.fullmatch("/".join(value.split("/", 3)[:3])) and is_secure(value, allow_loopback_http=False)
    ):
        raise ImproperlyConfigured(f"{name} must be a file below static/ or an https:// address.")
    return value


def colour(name: str) -> str:
    """A colour like #0b5ed7; may be empty."""
    value = text(name).strip()
    if not re.fullmatch(r"(#[0-9A-Fa-f]{6})?", value):
        raise ImproperlyConfigured(f"{name} is a colour like #0b5ed7.")
    return value


def api_path(name: str, placeholder: str) -> str:
    """A path below the API URL with this placeholder in it; may be empty."""
    value: str = parsed(name, str, default="")
    try:
        if value and (value.format(**{placeholder: "1"}) == value or not is_path(value.format(**{placeholder: "1"}))):
            raise ValueError
    except (ValueError, LookupError, AttributeError):
        raise ImproperlyConfigured(
            f"{name} must be a path below the API address with {{{placeholder}}} in it."
        ) from None
    return value
