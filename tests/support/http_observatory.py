"""Mozilla's HTTP Observatory, its rules as published in 2024, worked out on answers that we have got ourselves.

https://github.com/mdn/mdn-http-observatory: every site begins with 100 points; penalties count always, extra points
only from 90 on. A score of 100 and more is an A+.
"""

import re
from collections.abc import Mapping
from http.cookies import SimpleCookie

import requests

PRIVATE = {"no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"}
SIX_MONTHS = 15_768_000


def score(plain: requests.Response, secure: requests.Response) -> tuple[int, dict[str, int]]:
    """The points of a site, and what each rule gave or took. `plain` is its answer over http, without redirects."""
    headers = secure.headers
    rules = {
        "content security policy": content_security_policy(headers.get("Content-Security-Policy", "")),
        "cookies": cookies(secure),
        "cross-origin sharing": -50 if headers.get("Access-Control-Allow-Origin") == "*" else 0,
        "redirection": 0 if plain.headers.get("Location", "").startswith("https://") else -20,
        "referrer policy": 5
        if headers.get("Referrer-Policy") in {"no-referrer", "same-origin", "strict-origin"}
        else -5,
        "strict transport security": strict_transport_security(headers.get("Strict-Transport-Security", "")),
        "subresource integrity": -5 if re.search(r"<(?:script|link)[^>]+(?:src|href)=.https?://", secure.text) else 0,
        "content type options": 0 if headers.get("X-Content-Type-Options") == "nosniff" else -5,
        "frame options": frame_options(headers),
    }
    penalties = sum(points for points in rules.values() if points < 0)
    extra = sum(points for points in rules.values() if points > 0) if 100 + penalties >= 90 else 0
    return 100 + penalties + extra, rules


def content_security_policy(policy: str) -> int:
    directives = {name: sources for name, *sources in (part.split() for part in policy.split(";") if part.strip())}
    if not directives:
        return -25
    scripts = directives.get("script-src", directives.get("default-src", ["*"]))
    styles = directives.get("style-src", directives.get("default-src", ["*"]))
    if {"'unsafe-inline'", "*", "http:", "https:", "data:"} & set(scripts):
        return -20
    if "'unsafe-eval'" in scripts:
        return -10
    if "'unsafe-inline'" in styles:
        return 0
    return 10 if directives.get("default-src") == ["'none'"] else 5


def cookies(answer: requests.Response) -> int:
    found = SimpleCookie()
    for line in answer.raw.headers.getlist("Set-Cookie"):
        found.load(line)
    if not all(cookie["secure"] for cookie in found.values()):
        return -40
    if not all(cookie["httponly"] for cookie in found.values()):
        return -30
    return 5 if all(cookie["samesite"] in {"Lax", "Strict"} for cookie in found.values()) else 0


def strict_transport_security(header: str) -> int:
    found = re.search(r"max-age=(\d+)", header)
    if found is None:
        return -20
    return 0 if int(found[1]) >= SIX_MONTHS else -10


def frame_options(headers: Mapping[str, str]) -> int:
    if "frame-ancestors 'none'" in headers.get("Content-Security-Policy", ""):
        return 5
    return 0 if headers.get("X-Frame-Options") in {"DENY", "SAMEORIGIN"} else -20
