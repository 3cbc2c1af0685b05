"""Row 35 of the check-list: a passkey is registered and asked for, by Chromium with an authenticator of its own."""

# Fixtures come by name.
# ruff: noqa: F401, F811

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.pages import listen_to
from tests.browser.test_main_path import CHROMIUM, chromium, playwright, sign_up
from tests.support.running_app import RunningApp

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing (apt-get install chromium)"),
]
# As built into a phone or a laptop: asks its owner, who agrees (https://chromedevtools.github.io/devtools-protocol,
# WebAuthn).
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@pytest.mark.slow
def test_a_passkey_is_registered_and_is_the_second_factor_of_the_next_sign_in(
    chromium: Browser, running_app: RunningApp
) -> None:
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    complaints = listen_to(page)
    device = context.new_cdp_session(page)
    device.send("WebAuthn.enable", {"enableUI": False})
    authenticator = device.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})["authenticatorId"]
    sign_up(page, running_app)
    # As if she had followed the link in the mail of her sign-up, without which nobody gets a second factor.
    newest = "SELECT max(id) FROM account_emailaddress"
    verified = f"UPDATE account_emailaddress SET verified = TRUE WHERE id = ({newest}) RETURNING email"
    ((email,),) = running_app.rows(verified)

    page.goto(f"{running_app.url}accounts/2fa/")
    page.get_by_role("link", name="Add", exact=True).click()
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page).not_to_have_url(re.compile("add/$"))
    kept = device.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
    assert [credential["rpId"] for credential in kept] == ["localhost"]

    page.goto(running_app.url)
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{running_app.url}accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill("correct horse battery")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    page.goto(running_app.url)
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)  # a password alone is not enough

    page.goto(f"{running_app.url}accounts/2fa/authenticate/")
    page.get_by_role("button", name="Use a security key").click()
    expect(page.get_by_role("button", name="Connect with SnapInspect")).to_be_visible()
    (used,) = device.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
    assert used["signCount"] > kept[0]["signCount"]
    assert complaints == []
    context.close()
