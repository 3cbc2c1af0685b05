"""What pages and mails show of the operator: name, logo, accent and links, all from settings."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_GET

# The lowest contrast of text (WCAG 2.2, success criterion 1.4.3), and the pages' backgrounds in light and dark.
LEGIBLE = 4.5
BACKGROUNDS = {":root": "#f8f9fa", "[data-bs-theme=dark]": "#212529"}
# The accent where none is set, as in static/app.css.
ACCENT = "#2b5f8c"
BLACK, WHITE = "#000000", "#ffffff"


def context() -> dict[str, Any]:
    """What templates say about the operator: `app_name`, `brand_logo`, `brand_accent`, and `operator_links`."""
    logo: str = settings.BRAND_LOGO
    links = {
        "Help": settings.SUPPORT_URL,
        "Privacy": settings.PRIVACY_URL,
        "Terms": settings.TERMS_URL,
        "Status": settings.STATUS_URL,
    }
    return {
        "app_name": settings.APP_NAME,
        "brand_logo": logo if "://" in logo else static(logo) if logo else "",
        "brand_accent": settings.BRAND_ACCENT,
        "operator_links": [(words, url) for words, url in links.items() if url],
    }


def origin() -> str:
    """Where this app is reached: the redirect URI's origin, for mails that are sent without a request."""
    scheme, _, rest = settings.SNAPINSPECT_REDIRECT_URI.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


@login_not_required
@require_GET
def icon(request: HttpRequest) -> HttpResponse:
    """Where browsers look for an icon when an answer names none: the operator's logo, or ours."""
    return redirect(context()["brand_logo"] or static("favicon.svg"))


@login_not_required
@require_GET
def style_sheet(request: HttpRequest) -> HttpResponse:
    """The accent as a style sheet: the Content-Security-Policy refuses styles that stand in a page."""
    rules = style(settings.BRAND_ACCENT) if settings.BRAND_ACCENT else ""
    return HttpResponse(rules, content_type="text/css", headers={"Cache-Control": "max-age=3600"})


def style(accent: str) -> str:
    """Bootstrap's primary colour set to this accent (#rrggbb), with text on it, and links of it, that can be read."""
    on_accent = readable_on(accent)
    shade = BLACK if on_accent == WHITE else WHITE
    rules = [
        f":root,[data-bs-theme=dark]{{--bs-primary-rgb:{rgb(accent)}}}",
        f".btn-primary{{--bs-btn-color:{on_accent}}}",
        f".btn-primary,.btn-outline-primary{{--bs-btn-hover-color:{on_accent};--bs-btn-active-color:{on_accent};"
        f"--bs-btn-hover-bg:color-mix(in srgb,{accent} 85%,{shade})}}",
        f".text-bg-primary{{color:{on_accent}!important}}",
        f".dropdown-menu{{--bs-dropdown-link-active-color:{on_accent}}}",
    ]
    for theme, background in BACKGROUNDS.items():
        rules.append(f"{theme}{{--bs-link-color-rgb:{rgb(legible(accent, on=background))}}}")
    return "".join(rules)


def readable_on(colour: str) -> str:
    """Black or white, whichever has more contrast with this colour."""
    return max((WHITE, BLACK), key=lambda text: contrast(text, colour))


def legible(colour: str, *, on: str) -> str:
    """The colour, made as much darker or lighter as text of it needs on this background."""
    towards = readable_on(on)
    for percent in range(0, 101, 5):
        mixed = _mixed(colour, towards, percent / 100)
        if contrast(mixed, on) >= LEGIBLE:
            return mixed
    return towards


def _parts(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def rgb(colour: str) -> str:
    return ",".join(map(str, _parts(colour)))


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(_parts(colour), _parts(other), strict=True)
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in pairs)


def contrast(one: str, two: str) -> float:
    """WCAG 2.2, contrast ratio."""
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    shares = [part / 255 for part in _parts(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
