"""The pages for people: overview, personal access tokens, inspections with their webhooks."""

import json
from collections import defaultdict
from html import escape
from typing import Any

from integrations.sandbox import receiver, templates
from integrations.sandbox.http_messages import Answer, Request, html, parameter_problems, see_other
from integrations.sandbox.provider import APPLICATION, Provider
from integrations.sandbox.storage import Record
from integrations.sandbox.webhooks import is_acceptable

PERSONAL_PATH = "/integration/PersonalAccessTokens"
INSPECTIONS_PATH = "/sandbox/inspections"
INSPECTIONS_SHOWN = 50  # of each company
EVENTS_SHOWN = 20
WEBHOOK_ACTIONS = ("pause", "resume", "resend", "send")
EXAMPLE = '{"sType": "Create_Inspection", "iInspectionID": 1, "iCompanyID": 6847}'


def overview(provider: Provider) -> Answer:
    """Links to the pages, and the registered application."""
    registered = provider.registration
    webhook = f"<code>{escape(registered.webhook_url)}</code>" if registered.webhook_url else "none"
    content = (
        f'<ul><li><a href="{PERSONAL_PATH}">Personal access tokens</a></li>'
        f'<li><a href="{INSPECTIONS_PATH}">Inspections</a>: upload, change, review and sign them, '
        "and see the webhooks</li>"
        f'<li><a href="{receiver.PAGE_PATH}">Webhook receiver</a>: verifies what the application sends</li></ul>'
        "<p>The authorization page is reached from the application.</p><h2>Registered application</h2>"
        f"<ul><li>Name: {escape(registered.app_name)}</li>"
        f"<li>Redirect URL: <code>{escape(registered.redirect_uri)}</code></li><li>Webhook URL: {webhook}</li></ul>"
    )
    assumed = "all sample data, and that a used refresh token is refused."
    return html(templates.page("Overview", content, assumed=assumed))


def personal_tokens(provider: Provider, request: Request) -> Answer:
    """Issues, lists and revokes personal access tokens; only the answer to the form shows a new one."""
    if request.method != "POST":
        return html(personal_tokens_page(provider))
    given = dict(request.form)
    if given.get("action") == "revoke":
        revoked = [token.value for token in provider.tokens.personal() if str(token.serial) == given.get("token")]
        provider.tokens.revoke(*revoked)
        return see_other(PERSONAL_PATH)
    problems = parameter_problems(request.form, required=["account"], optional=["webhook_url", "action"])
    account = provider.accounts.find(given.get("account", ""))
    webhook_url = given.get("webhook_url", "").strip()
    if account is None:
        problems.append("account is not one of those on the list.")
    if webhook_url and not is_acceptable(webhook_url):
        problems.append("webhook_url must be https, or http on this machine.")
    if problems or account is None:
        return html(templates.refusal_page(problems), 400)
    token = provider.tokens.issue_personal(account.user_id, webhook_url=webhook_url)
    return html(personal_tokens_page(provider, new_token=token.value))


def personal_tokens_page(provider: Provider, *, new_token: str = "") -> str:
    new = (
        '<section class="notice"><h2>New token</h2><p>Copy it now, it is not shown again:</p>'
        f"<p><code>{escape(new_token)}</code></p></section>"
        if new_token
        else ""
    )
    people = {account.user_id: f"{account.name}, {account.company_name}" for account in provider.accounts.all()}
    cards = "".join(
        f"<li>{escape(people.get(token.account, 'unknown'))}, <code>{token.fingerprint}</code>"
        + (f"<br>Webhook: <code>{escape(token.webhook_url)}</code>" if token.webhook_url else "")
        + templates.button_form(PERSONAL_PATH, {"action": "revoke", "token": str(token.serial)}, "Revoke")
        + "</li>"
        for token in provider.tokens.personal()
    )
    content = (
        f'{new}<form method="post" action="{PERSONAL_PATH}">'
        f'<label class="field">Account<select name="account">{templates.options(people)}</select></label>'
        '<label class="field">Webhook URL (optional)<input type="url" name="webhook_url"></label>'
        '<button class="main" name="action" value="issue">Issue token</button></form>'
        f'<h2>Issued tokens</h2><ul class="cards">{cards or "<li>None.</li>"}</ul>'
    )
    assumed = "this page. At the vendor, a personal access token is requested from support by e-mail."
    return templates.page("Personal access tokens", content, assumed=assumed)


def inspections(provider: Provider, request: Request) -> Answer:
    """Lists inspections and webhooks; carries out what a form of the page asks for."""
    if request.method != "POST":
        return html(inspections_page(provider))
    given = dict(request.form)
    if given.get("action") in WEBHOOK_ACTIONS:
        problem, place = change_webhooks(provider, given), f"{INSPECTIONS_PATH}#webhooks"
    else:
        problem, place = change_inspections(provider, given), INSPECTIONS_PATH
    return html(templates.refusal_page([problem]), 400) if problem else see_other(place)


def change_webhooks(provider: Provider, given: dict[str, str]) -> str:
    """Carries out the form's action; returns a sentence if that is not possible."""
    match given["action"]:
        case "pause":
            provider.webhooks.pause()
        case "resume":
            provider.webhooks.resume()
        case "resend":
            event = provider.events.find(given.get("event", ""))
            if event is None:
                return "event is not one of those on the list."
            provider.send_webhooks(event)
        case "send":
            url = provider.registration.webhook_url
            if not url:
                return "There is no webhook URL to send this to."
            provider.webhooks.send(given.get("payload", "").encode(), to=APPLICATION, url=url)
    return ""


def change_inspections(provider: Provider, given: dict[str, str]) -> str:
    """Carries out the form's action; returns a sentence if that is not possible."""
    if given.get("action") == "upload":
        company = given.get("company", "")
        if company not in map(str, provider.accounts.companies()):
            return "company is not one of those on the list."
        provider.inspections.upload(int(company), given.get("title") or "Untitled inspection")
        return ""
    inspection = provider.inspections.find(given.get("inspection", ""))
    if inspection is None:
        return "inspection is not one of those on the list."
    match given.get("action"):
        case "status":
            provider.inspections.change_status(inspection, given.get("status") or "Completed")
        case "review":
            provider.inspections.create_review(inspection)
        case "sign":
            review = given.get("review", "")
            if not review.isdecimal() or not provider.inspections.sign_review(inspection, int(review)):
                return "review is not one that waits for a signature."
        case _:
            return "action is not one of those on the page."
    return ""


def inspections_page(provider: Provider) -> str:
    companies = provider.accounts.companies()
    labels = {company: f"{name} ({company})" for company, name in companies.items()}
    sections = "".join(
        f'<h2>{escape(name)}, company {company}</h2><ul class="cards">'
        + "".join(map(inspection_card, provider.inspections.of_company(company)[: -INSPECTIONS_SHOWN - 1 : -1]))
        + "</ul>"
        for company, name in companies.items()
    )
    content = (
        f'<form method="post" action="{INSPECTIONS_PATH}">'
        f'<label class="field">Company<select name="company">{templates.options(labels)}</select></label>'
        '<label class="field">Title<input type="text" name="title" required></label>'
        '<button class="main" name="action" value="upload">Upload an inspection</button></form>'
        f"{events_section(provider)}{sections}"
    )
    assumed = (
        "this page, in place of the vendor’s app, the shape of an inspection in the API, and when the 4 further "
        "attempts of a webhook are made: 5, 15, 45 and 105 minutes after the first."
    )
    return templates.page("Inspections", content, assumed=assumed)


def inspection_card(record: Record) -> str:
    number = str(record["iInspectionID"])
    status = f'<input type="text" name="status" value="{escape(record["sStatus"])}" aria-label="Status of {number}">'
    forms = [
        action_form("status", "Change status", before=status, inspection=number),
        action_form("review", "Create review", inspection=number),
    ]
    for review in record["reviews"]:
        if not review["bSigned"]:
            review_id = str(review["iInsReviewID"])
            forms.append(action_form("sign", f"Sign review {review_id}", inspection=number, review=review_id))
    return f"<li>{escape(record['sTitle'])}<br>{number}, {escape(record['sStatus'])}{''.join(forms)}</li>"


def events_section(provider: Provider) -> str:
    """The newest events, and what became of their webhooks."""
    of_event = defaultdict(list)
    for delivery in provider.webhooks.all():
        of_event[delivery["event"]].append(delivery)
    cards = "".join(
        event_card(event, of_event[event["sequence"]]) for event in provider.events.all()[: -EVENTS_SHOWN - 1 : -1]
    )
    paused = provider.webhooks.paused
    payload = f'<input type="text" name="payload" value="{escape(EXAMPLE)}" aria-label="Body of the webhook">'
    by_hand = of_event[None][: -EVENTS_SHOWN - 1 : -1]
    return (
        '<h2 id="webhooks">Events and their webhooks</h2>'
        f"<p>The newest {EVENTS_SHOWN}. They are in memory: after a restart, what is not acknowledged is not sent "
        f"again. Sending is {'paused' if paused else 'on'}.</p>"
        + (action_form("resume", "Resume") if paused else action_form("pause", "Pause"))
        + f'<ul class="cards">{cards or "<li>No event yet.</li>"}</ul>'
        + "<h3>Send a webhook without an event</h3>"
        + action_form("send", "Send", before=payload)
        + delivery_list(by_hand)
    )


def event_card(event: dict[str, Any], deliveries: list[dict[str, Any]]) -> str:
    number = str(event["sequence"])
    resend = action_form("resend", "Send again", event=number)
    return (
        f"<li>Event {number}, {templates.clock_time(event['time'])}"
        f"<br><code>{escape(json.dumps(event['payload']))}</code>"
        + (
            delivery_list(deliveries) + resend
            if deliveries
            else "<p>No webhook URL is registered for this company.</p>"
        )
        + "</li>"
    )


def delivery_list(deliveries: list[dict[str, Any]]) -> str:
    """Deliveries with their attempts: when, and with what status or error."""
    items = []
    for delivery in deliveries:
        attempts = "".join(
            f"<li>Attempt {attempt['attempt']}, {templates.clock_time(attempt['time'])}: "
            f"{attempt['status'] or escape(attempt['error'])}</li>"
            for attempt in delivery["attempts"]
        )
        following = f", next attempt {templates.clock_time(delivery['next'])}" if delivery["next"] else ""
        items.append(
            f"<li>To: {escape(delivery['to'])}, <strong>{delivery['state']}</strong>{following}"
            + (f"<ul>{attempts}</ul></li>" if attempts else "</li>")
        )
    return f"<ul>{''.join(items)}</ul>" if items else ""


def action_form(action: str, label: str, *, before: str = "", **fields: str) -> str:
    return templates.button_form(INSPECTIONS_PATH, {"action": action, **fields}, label, before=before)
