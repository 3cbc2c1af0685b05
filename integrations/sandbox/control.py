"""The control address: JSON by which tests order faults, mint tokens, and read what happened.

Not part of SnapInspect in any way. Only this machine may use it.
"""

import json
from collections.abc import Callable
from typing import Any

from integrations.sandbox import webhook_orders
from integrations.sandbox.accounts import Account
from integrations.sandbox.addresses import acceptable_webhook, on_this_machine
from integrations.sandbox.messages import Answer, JSONAnswer, Request, refusal
from integrations.sandbox.orders import Document, Unacceptable, number_in, wait_in
from integrations.sandbox.world import World

PREFIX = "/control/"


def answer(world: World, request: Request) -> Answer:
    """Carries out one order. Errors are JSON with a sentence in `error`."""
    if not on_this_machine(request.peer):
        return refusal(403, "forbidden", "The control address only answers this machine.")
    name = request.path.removeprefix(PREFIX)
    method = "GET" if request.reads else request.method
    number = name.removeprefix("faults/")
    if method == "DELETE" and number != name and number.isdecimal():
        world.faults.clear(int(number))
        return JSONAnswer({})
    order = ORDERS.get((method, name))
    if order is None:
        return refusal(404, "not_found", "There is no such order.")
    try:
        return JSONAnswer(order(world, given(request)))
    except Unacceptable as problem:
        return JSONAnswer({"error": str(problem)}, 400)


def given(request: Request) -> Document:
    """The order's settings: the query of a GET or DELETE, the JSON object of a POST."""
    if request.method != "POST":
        return dict(request.query)
    if not request.body:
        return {}
    # A web page elsewhere cannot send this content type to us unasked.
    if request.content_type != "application/json":
        raise Unacceptable("The body must be application/json.")
    try:
        document = json.loads(request.body)
    except ValueError:
        raise Unacceptable("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Unacceptable("The body must be a JSON object.")
    return document


def account_in(world: World, order: Document) -> Account:
    account = world.accounts.find(order.get("account", ""))
    if account is None:
        raise Unacceptable("account is not the user ID of an account.")
    return account


def add_fault(world: World, order: Document) -> Any:
    try:
        return {"id": world.faults.add(order).id}
    except ValueError as problem:
        raise Unacceptable(str(problem)) from None


def list_faults(world: World, _order: Document) -> Any:
    return [fault.described() for fault in world.faults.all()]


def clear_faults(world: World, _order: Document) -> Any:
    world.faults.clear()
    return {}


def read_log(world: World, order: Document) -> Any:
    after = int(number_in(order, "after", 0))
    requests = world.log.after(after, path=order.get("path"), wait=wait_in(order))
    return {"last": world.log.last, "requests": requests}


def clear_log(world: World, _order: Document) -> Any:
    world.log.clear()
    return {}


def set_mode(world: World, order: Document) -> Any:
    if order.get("mode") not in ("strict", "grace"):
        raise Unacceptable("mode must be strict or grace.")
    world.tokens.mode = order["mode"]
    return {"mode": world.tokens.mode}


def grant(world: World, order: Document) -> Any:
    pair = world.tokens.grant(account_in(world, order).user_id)
    return {"access_token": pair.access_token, "refresh_token": pair.refresh_token}


def personal(world: World, order: Document) -> Any:
    account, webhook_url = account_in(world, order), str(order.get("webhook_url", ""))
    if webhook_url and not acceptable_webhook(webhook_url):
        raise Unacceptable("webhook_url must be https, or http on this machine.")
    return {"token": world.tokens.issue_personal(account.user_id, webhook_url=webhook_url).value}


def revoke(world: World, order: Document) -> Any:
    """Ends this one token only: the refresh token of a revoked access token still works."""
    if world.tokens.find(str(order.get("token"))) is None:
        raise Unacceptable("token was never minted here.")
    world.tokens.revoke(order["token"])
    return {"revoked": 1}


def revoke_all(world: World, order: Document) -> Any:
    """Ends every token, or every one of `kind` (access, refresh, personal)."""
    kind = order.get("kind")
    doomed = [token.value for token in world.tokens.all() if token.status != "dead" and kind in (None, token.kind)]
    world.tokens.revoke(*doomed)
    return {"revoked": len(doomed)}


def list_tokens(world: World, _order: Document) -> Any:
    companies = {account.user_id: account.company_id for account in world.accounts.all()}
    return [
        {
            "token": token.value,
            "kind": token.kind,
            "live": token.status == "live",
            "account": token.account,
            "company": companies.get(token.account),
        }
        for token in world.tokens.all()
    ]


def add_account(world: World, order: Document) -> Any:
    """One more user, for tests that need many companies. `company` is enough; the rest has defaults."""
    company = order.get("company")
    user_id = order.get("account", max(account.user_id for account in world.accounts.all()) + 1)
    if not isinstance(company, int) or not isinstance(user_id, int):
        raise Unacceptable("company and account must be whole numbers.")
    account = Account(
        user_id=user_id,
        name=str(order.get("name", f"User {user_id}")),
        email=str(order.get("email", f"user{user_id}@company{company}.example")),
        company_id=company,
        company_name=str(order.get("company_name", f"Company {company}")),
        names_company=bool(order.get("names_company", True)),
    )
    world.accounts.add(account)
    return {"account": user_id, "company": company}


def add_inspection(world: World, order: Document) -> Any:
    if order.get("company") not in world.accounts.companies():
        raise Unacceptable("company is not one of an account.")
    return world.inspections.upload(order["company"], str(order.get("title", "Untitled inspection")))


def list_events(world: World, _order: Document) -> Any:
    return world.events.all()


def reset(world: World, _order: Document) -> Any:
    world.reset()
    return {}


ORDERS: dict[tuple[str, str], Callable[[World, Document], Any]] = {
    ("POST", "faults"): add_fault,
    ("GET", "faults"): list_faults,
    ("DELETE", "faults"): clear_faults,
    ("GET", "log"): read_log,
    ("DELETE", "log"): clear_log,
    ("POST", "mode"): set_mode,
    ("POST", "grant"): grant,
    ("POST", "personal"): personal,
    ("POST", "revoke"): revoke,
    ("POST", "revoke_all"): revoke_all,
    ("GET", "tokens"): list_tokens,
    ("POST", "accounts"): add_account,
    ("POST", "inspections"): add_inspection,
    ("GET", "events"): list_events,
    ("POST", "reset"): reset,
    **webhook_orders.ORDERS,
}
