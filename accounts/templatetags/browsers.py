"""User-Agent headers in words."""

from django import template

register = template.Library()

# In this order: most browsers also name others, for compatibility.
BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS = {
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


@register.filter
def browser(user_agent: str) -> str:
    """ "Firefox on Windows", as far as the User-Agent header says."""
    name = next((words for token, words in BROWSERS.items() if f"{token}/" in user_agent), "A browser")
    system = next((words for token, words in SYSTEMS.items() if token in user_agent), "")
    return f"{name} on {system}" if system else name
