from playwright.sync_api import expect

# Playwright's own 5 s are too few on a machine that does much else; what is there ends the wait.
expect.set_options(timeout=60_000)
