"""The HTML of the pages: one frame, and the parts that several pages use. All values given are escaped here."""

from collections.abc import Iterable
from html import escape

from integrations.sandbox.accounts import Account

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 40rem; padding: 0 1rem 2rem; overflow-wrap: anywhere; }
.notice { border: 2px dashed; border-radius: .5rem; margin: 1rem 0 1.5rem; padding: .5rem 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; }
a { color: inherit; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
h3 { font-size: 1rem; }
fieldset { border: 1px solid; border-radius: .5rem; margin: 0 0 1rem; padding: .5rem 1rem; }
.choice { display: flex; gap: .75rem; align-items: start; padding: .5rem 0; }
.choice input { margin-top: .35rem; }
label.field { display: block; margin: 0 0 1rem; }
input[type=text], input[type=url], select { box-sizing: border-box; display: block; font: inherit; padding: .5rem;
  width: 100%; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; }
.row input[type=text] { flex: 1 1 8rem; width: auto; min-width: 0; }
form.row { margin: .5rem 0; }
button { border: 1px solid; border-radius: .5rem; font: inherit; min-height: 2.75rem; padding: .25rem 1rem; }
button.main { background: CanvasText; color: Canvas; font-weight: 600; }
ul.cards { list-style: none; padding: 0; }
ul.cards > li { border: 1px solid; border-radius: .5rem; margin: 0 0 .75rem; padding: .75rem 1rem; }
ul.cards form { margin-top: .5rem; }
code { font-size: .95em; }
footer { border-top: 1px solid; font-size: .9rem; margin-top: 2rem; }
"""


def page(title: str, content: str, *, assumed: str) -> str:
    """A whole page. `content`: trusted HTML; `assumed`: what of it the vendor does not document, for the footer."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · stand-in for SnapInspect</title><style>{STYLE}</style></head><body>"
        '<header class="notice"><strong>Stand-in for SnapInspect.</strong> '
        "This is not SnapInspect: it runs for development and tests, with sample people and data.</header>"
        f"<main><h1>{escape(title)}</h1>{content}</main>"
        f"<footer><p><strong>Assumed</strong>, not documented by SnapInspect: {escape(assumed)}</p></footer>"
        "</body></html>"
    )


def authorization_page(*, action: str, app_name: str, hidden: dict[str, str], accounts: list[Account]) -> str:
    """Asks whether the application may use an account, and which."""
    choices = "".join(
        f'<label class="choice"><input type="radio" name="account" value="{account.user_id}"'
        f"{'' if index else ' checked'}><span>{escape(account.name)}<br>{escape(account.company_name)}, "
        f"company {account.company_id}</span></label>"
        for index, account in enumerate(accounts)
    )
    content = (
        f"<p><strong>{escape(app_name)}</strong> asks for access to a SnapInspect account.</p>"
        f'<form method="post" action="{action}">{hidden_fields(hidden)}'
        f"<fieldset><legend>Account</legend>{choices}</fieldset>"
        '<div class="row"><button class="main" name="decision" value="allow">Allow</button>'
        '<button name="decision" value="deny">Deny</button></div></form>'
    )
    assumed = (
        "how this page looks, the list of accounts in place of a sign-in, "
        "and the parameters after Deny (error, error_description, state)."
    )
    return page(f"Allow {app_name}?", content, assumed=assumed)


def refusal_page(problems: Iterable[str]) -> str:
    """Says why a request is refused, without its values."""
    content = (
        "<p>The request cannot be carried out. Nothing was sent to the application.</p>"
        f"<ul>{''.join(f'<li>{escape(problem)}</li>' for problem in problems)}</ul>"
    )
    return page("Request refused", content, assumed="how such a request is refused.")


def options(values: dict[int, str]) -> str:
    """The options of a select element."""
    return "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in values.items())


def hidden_fields(values: dict[str, str]) -> str:
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in values.items())


def button_form(action: str, fields: dict[str, str], label: str, *, before: str = "") -> str:
    """A form with one button. `before`: trusted HTML in front of it."""
    return (
        f'<form method="post" action="{action}" class="row">{hidden_fields(fields)}{before}'
        f"<button>{escape(label)}</button></form>"
    )


def clock_time(moment: str) -> str:
    """The time of day of an ISO 8601 text in UTC, to the second."""
    return f'<time datetime="{moment}">{moment[11:19]}</time>'
