"""Row H4: passwords are guessed at several web processes."""

import secrets

import pytest
import requests

from tests.support.measurements import record
from tests.support.running_app import RunningApp

pytestmark = [pytest.mark.slow, pytest.mark.processes]


def test_H4_of_a_hundred_guesses_ten_are_tried_whatever_process_they_meet(running_app: RunningApp) -> None:
    owner = running_app.visitor()
    email = f"{secrets.token_hex(5)}@example.com"
    owner.sign_up(email=email)
    guesser = running_app.visitor()
    statuses = []
    for number in range(100):
        page = guesser.post("accounts/login/", {"login": email, "password": f"guess {number}"}, allow_redirects=False)
        statuses.append(page.status_code if "Too many" not in page.text else 429)
    tried = sum(status != 429 for status in statuses)
    right = guesser.post("accounts/login/", {"login": email, "password": "correct horse"})

    record("H4", "100 wrong passwords in a row over two web processes", f"{tried} were tried")
    assert tried <= 10
    # Not even the right one gets in now; a session that is open goes on.
    assert isinstance(right, requests.Response)
    assert "Sign out" not in right.text
    assert owner.get(f"c/{owner.code}/").status_code == 200
