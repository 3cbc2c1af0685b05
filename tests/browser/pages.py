"""What is done with any page in Chromium: its console is listened to, and it is read again until something is there."""

from contextlib import suppress

from playwright.sync_api import ConsoleMessage, Error, Page

from tests.support.wait import wait_until

# Bootstrap's arrow of a select. app.css leaves it out, but Playwright may have a page laid out before that file is
# there. test_screens.py, which looks at pages when they are complete, lets none pass.
ARROW = (
    "Loading the image 'data:image/svg+xml,%3csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3e%3cpath fi"
)


def listen_to(page: Page) -> list[str]:
    """What is written to the page's console from now on, as errors."""
    complaints: list[str] = []

    def note(said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith(ARROW):
            complaints.append(said.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def reload_until(page: Page, word: str) -> None:
    """Reads a page without JavaScript again until its only badge says this word."""

    def is_there() -> bool:
        with suppress(Error):  # the page before is about to leave
            page.reload()
        return [text.strip() for text in page.locator("[data-badge]").all_inner_texts()] == [word]

    wait_until(is_there, every=0.2)
