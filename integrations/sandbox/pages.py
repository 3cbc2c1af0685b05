"""The pages for people beside Connect: overview, personal access tokens, inspections."""

from html import escape

from integrations.sandbox import events_section, layout
from integrations.sandbox.addresses import acceptable_webhook
from integrations.sandbox.messages import Answer, Request, html, misfits, see_other
from integrations.sandbox.records import Record
from integrations.sandbox.world import World

PERSONAL_PATH = "/integration/PersonalAccessTokens"
INSPECTIONS_PATH = "/sandbox/inspections"
SHOWN_PER_COMPANY = 50


def home(world: World) -> Answer:
    """What there is, and how the application is registered."""
    registered = world.registration
    webhook = f"<code>{escape(registered.webhook_url)}</code>" if registered.webhook_url else "none"
    content = (
        f'<ul><li><a href="{PERSONAL_PATH}">Personal access tokens</a></li>'
        f'<li><a href="{INSPECTIONS_PATH}">Inspections</a>: upload one, change it, review it, '
        "and see the webhooks this sends</li></ul>"
        "<p>The authorization page is reached from the application.</p><h2>Registered application</h2>"
        f"<ul><li>Name: {escape(registered.app_name)}</li>"
        f"<li>Redirect URL: <code>{escape(registered.redirect_uri)}</code></li><li>Webhook URL: {webhook}</li>"
        f"<li>Refresh tokens: {world.tokens.mode} mode</li></ul>"
    )
    assumed = "all sample data, and both ways of treating a used refresh token (strict, grace)."
    return html(layout.page("What is here", content, assumed=assumed))


def personal_tokens(world: World, request: Request) -> Answer:
    """Issues, lists and revokes personal access tokens; a new one is shown in the answer to its form only."""
    if request.method != "POST":
        return html(personal_page(world))
    given = dict(request.form)
    if given.get("action") == "revoke":
        doomed = [token for token in world.tokens.personal() if str(token.serial) == given.get("token")]
        world.tokens.revoke(*(token.value for token in doomed))
        return see_other(PERSONAL_PATH)
    problems = misfits(request.form, required=["account"], optional=["webhook_url", "action"])
    account = world.accounts.find(given.get("account", ""))
    webhook_url = given.get("webhook_url", "").strip()
    if account is None:
        problems.append("account is not one of those on the list.")
    if webhook_url and not acceptable_webhook(webhook_url):
        problems.append("webhook_url must be https, or http on this machine.")
    if problems or account is None:
        return html(layout.refusal_page(problems), 400)
    token = world.tokens.issue_personal(account.user_id, webhook_url=webhook_url)
    return html(personal_page(world, new_token=token.value))


def personal_page(world: World, *, new_token: str = "") -> str:
    shown = (
        '<section class="stand-in"><h2>New token</h2><p>Copy it now, it is not shown again:</p>'
        f"<p><code>{escape(new_token)}</code></p></section>"
        if new_token
        else ""
    )
    names = {account.user_id: account.name for account in world.accounts.all()}
    people = {account.user_id: f"{account.name}, {account.company_name}" for account in world.accounts.all()}
    cards = "".join(
        f"<li>{escape(names.get(token.account, 'unknown'))}, <code>{token.fingerprint}</code>"
        + (f"<br>Webhook: <code>{escape(token.webhook_url)}</code>" if token.webhook_url else "")
        + layout.button_form(PERSONAL_PATH, {"action": "revoke", "token": str(token.serial)}, "Revoke")
        + "</li>"
        for token in world.tokens.personal()
    )
    content = (
        f'{shown}<form method="post" action="{PERSONAL_PATH}">'
        f'<label class="field">Account<select name="account">{layout.options(people)}</select></label>'
        '<label class="field">Webhook URL (optional)<input type="url" name="webhook_url"></label>'
        '<button class="main" name="action" value="issue">Issue token</button></form>'
        f'<h2>Issued tokens</h2><ul class="cards">{cards or "<li>None.</li>"}</ul>'
    )
    assumed = "this page. At the vendor, a personal access token is an e-mail to support."
    return layout.page("Personal access tokens", content, assumed=assumed)


def inspections(world: World, request: Request) -> Answer:
    """Lists inspections; uploads one; changes, reviews and signs them."""
    if request.method != "POST":
        return html(inspections_page(world))
    given = dict(request.form)
    if given.get("action") not in events_section.ACTIONS:
        problem, place = act(world, given), INSPECTIONS_PATH
    else:
        problem, place = events_section.act(world, given), f"{INSPECTIONS_PATH}#{events_section.ANCHOR}"
    return html(layout.refusal_page([problem]), 400) if problem else see_other(place)


def act(world: World, given: dict[str, str]) -> str:
    """Does what a form of the page asks for; a sentence if that is not possible."""
    if given.get("action") == "upload":
        company = given.get("company", "")
        if company not in map(str, world.accounts.companies()):
            return "company is not one of those on the list."
        world.inspections.upload(int(company), given.get("title") or "Untitled inspection")
        return ""
    inspection = world.inspections.find(given.get("inspection", ""))
    if inspection is None:
        return "inspection is not one of those on the list."
    match given.get("action"):
        case "status":
            world.inspections.change_status(inspection, given.get("status") or "Completed")
        case "review":
            world.inspections.create_review(inspection)
        case "sign":
            review = given.get("review", "")
            if not review.isdecimal() or world.inspections.sign_review(inspection, int(review)) is None:
                return "review is not one that waits for a signature."
        case _:
            return "action must be “upload”, “status”, “review” or “sign”."
    return ""


def inspections_page(world: World) -> str:
    companies = world.accounts.companies()
    named = {company: f"{name} ({company})" for company, name in companies.items()}
    sections = "".join(
        f'<h2>{escape(name)}, company {company}</h2><ul class="cards">'
        + "".join(
            inspection_card(record) for record in world.inspections.of_company(company)[: -SHOWN_PER_COMPANY - 1 : -1]
        )
        + "</ul>"
        for company, name in companies.items()
    )
    content = (
        f'<form method="post" action="{INSPECTIONS_PATH}">'
        f'<label class="field">Company<select name="company">{layout.options(named)}</select></label>'
        '<label class="field">Title<input type="text" name="title" required></label>'
        '<button class="main" name="action" value="upload">Upload an inspection</button></form>'
        f"{events_section.section(world, INSPECTIONS_PATH)}{sections}"
    )
    assumed = (
        "this page, in place of the vendor’s app, the shape of an inspection in the API, and when the 4 further "
        "attempts of a webhook are made: 5, 15, 45 and 105 minutes after the first."
    )
    return layout.page("Inspections", content, assumed=assumed)


def inspection_card(record: Record) -> str:
    number = str(record["iInspectionID"])
    status = f'<input type="text" name="status" value="{escape(record["sStatus"])}" aria-label="Status of {number}">'
    buttons = [
        layout.button_form(INSPECTIONS_PATH, {"action": "status", "inspection": number}, "Change status", extra=status),
        layout.button_form(INSPECTIONS_PATH, {"action": "review", "inspection": number}, "Create review"),
    ]
    buttons += [
        layout.button_form(
            INSPECTIONS_PATH,
            {"action": "sign", "inspection": number, "review": str(review["iInsReviewID"])},
            f"Sign review {review['iInsReviewID']}",
        )
        for review in record["reviews"]
        if not review["bSigned"]
    ]
    return f"<li>{escape(record['sTitle'])}<br>{number}, {escape(record['sStatus'])}{''.join(buttons)}</li>"
