"""Error pages have one look and the same words, whether the app or nginx answers."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from django.test import RequestFactory

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
NGINX = (ROOT / "deploy/nginx/connect.conf").read_text(encoding="utf-8")
STATUSES = ["400", "403", "404", "413", "429", "500", "503"]


def titles_of_nginx() -> dict[str, str]:
    (block,) = re.findall(r"map \$status \$title_of_nginx \{(.*?)\n\}", NGINX, re.DOTALL)
    return dict(re.findall(r'(\w+)\s+"([^"]+)";', block))


@pytest.mark.parametrize("status", [*STATUSES, "403_csrf"])
def test_every_error_page_is_a_card_with_the_status_a_title_and_the_number(status: str) -> None:
    page = render_to_string(
        f"{status}.html", {"request_id": "abc123", "app_name": "Connect"}, RequestFactory().get("/")
    )

    assert f">{status[:3]}</p>" in page and "<code>abc123</code>" in page
    (heading,) = re.findall(r"<h1[^>]*>(.*?)</h1>", page)
    assert re.search(rf"<title>\s*{heading}", page)
    if status in STATUSES:
        assert heading == titles_of_nginx()["default" if status == "400" else status]
        (labels,) = re.findall(r"map \$status \$label_of_nginx \{(.*?)\}", NGINX)
        label_of_nginx = dict(re.findall(r'(\w+) "([^"]+)";', labels))
        assert f'href="/">{label_of_nginx.get(status, label_of_nginx["default"])}</a>' in page


def test_the_policy_of_nginx_allows_the_style_of_its_pages_and_nothing_else() -> None:
    (style,) = re.findall("<style>(.*?)</style>", NGINX)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"\"default-src 'none'; style-src 'sha256-{digest}'\"" in NGINX
    assert "$" not in style, "nginx would put a variable there, and the hash would not be the style's"
