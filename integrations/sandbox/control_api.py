"""The control API: JSON below `/control/` by which tests order faults, issue tokens and read what happened.

It is not part of SnapInspect. Only this machine may use it.
"""

import json
from collections.abc import Callable
from typing import Any

from integrations.sandbox.accounts import Account
from integrations.sandbox.http_messages import Answer, JSONResponse, Request, error, is_loopback
from integrations.sandbox.provider import Provider
from integrations.sandbox.webhooks import is_acceptable

PREFIX = "/control/"

Settings = dict[str, Any]


class Invalid(Exception):
    """A request that cannot be carried out; the text is a sentence that says why."""


def answer(provider: Provider, request: Request) -> Answer:
    """Carries out one request. Errors are JSON with a sentence in `error`."""
    if not is_loopback(request.peer):
        return error(403, "forbidden", "The control API only answers this machine.")
    operation = OPERATIONS.get(("GET" if request.is_read else request.method, request.path.removeprefix(PREFIX)))
    if operation is None:
        return error(404, "not_found", "There is no such operation.")
    try:
        return JSONResponse(operation(provider, settings_of(request)) or {})
    except Invalid as problem:
        return JSONResponse({"error": str(problem)}, 400)


def settings_of(request: Request) -> Settings:
    """The query of a GET or DELETE, the JSON object of a POST."""
    if request.method != "POST":
        return dict(request.query)
    if not request.body:
        return {}
    # A web page of another origin cannot send this content type without permission (CORS).
    if request.content_type != "application/json":
        raise Invalid("The body must be application/json.")
    try:
        document = json.loads(request.body)
    except ValueError:
        raise Invalid("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object.")
    return document


def number_in(settings: Settings, name: str) -> float:
    """The number of the query under this name; 0 if it is missing."""
    try:
        return float(settings.get(name, 0))
    except ValueError:
        raise Invalid(f"{name} must be a number.") from None


def account_in(provider: Provider, settings: Settings) -> Account:
    account = provider.accounts.find(settings.get("account", ""))
    if account is None:
        raise Invalid("account is not the user ID of an account.")
    return account


def add_fault(provider: Provider, settings: Settings) -> None:
    """See `faults.Fault` for the settings."""
    try:
        provider.faults.add(settings)
    except ValueError as problem:
        raise Invalid(str(problem)) from None


def read_log(provider: Provider, settings: Settings) -> Settings:
    """The requests `after` a sequence number (0) to a `path` (`*`). `wait`: seconds to wait for the first one."""
    after, wait = int(number_in(settings, "after")), number_in(settings, "wait")
    requests = provider.log.after(after, path=settings.get("path", "*"), wait=wait)
    return {"last": provider.log.last, "requests": requests}


def configure_tokens(provider: Provider, settings: Settings) -> None:
    """`mode`: strict or grace. `length`: of new tokens, 0 for the usual one. Both last until a reset."""
    mode, length = settings.get("mode", provider.tokens.mode), settings.get("length", provider.tokens.length)
    if mode not in ("strict", "grace"):
        raise Invalid("mode must be strict or grace.")
    provider.tokens.mode, provider.tokens.length = mode, length


def grant(provider: Provider, settings: Settings) -> Settings:
    """A pair of tokens for `account`, as after Allow."""
    pair = provider.tokens.grant(account_in(provider, settings).user_id)
    return {"access_token": pair.access_token, "refresh_token": pair.refresh_token}


def issue_personal(provider: Provider, settings: Settings) -> Settings:
    """A personal access token for `account`, if wanted with a `webhook_url`."""
    account, webhook_url = account_in(provider, settings), str(settings.get("webhook_url", ""))
    if webhook_url and not is_acceptable(webhook_url):
        raise Invalid("webhook_url must be https, or http on this machine.")
    return {"token": provider.tokens.issue_personal(account.user_id, webhook_url=webhook_url).value}


def revoke(provider: Provider, settings: Settings) -> None:
    """Ends this one token: the refresh token of a revoked access token still works."""
    if provider.tokens.find(str(settings.get("token"))) is None:
        raise Invalid("token was not issued here.")
    provider.tokens.revoke(settings["token"])


def revoke_all(provider: Provider, settings: Settings) -> Settings:
    """Ends every token, or every one of `kind` (access, refresh, personal)."""
    kinds = {settings.get("kind", kind) for kind in ("access", "refresh", "personal")}
    revoked = [token.value for token in provider.tokens.all() if token.status != "dead" and token.kind in kinds]
    provider.tokens.revoke(*revoked)
    return {"revoked": len(revoked)}


def list_tokens(provider: Provider, _settings: Settings) -> Settings:
    companies = {account.user_id: account.company_id for account in provider.accounts.all()}
    return {
        "tokens": [
            {
                "token": token.value,
                "kind": token.kind,
                "live": token.status == "live",
                "account": token.account,
                "company": companies.get(token.account),
            }
            for token in provider.tokens.all()
        ]
    }


def add_account(provider: Provider, settings: Settings) -> Settings:
    """Another user of `company`, for tests that need many. `account`: the user ID, if it matters."""
    company, user_id = settings.get("company"), settings.get("account")
    if not isinstance(company, int) or not isinstance(user_id, int | None):
        raise Invalid("company and account must be whole numbers.")
    return {"account": provider.accounts.add(company, user_id).user_id, "company": company}


def add_inspection(provider: Provider, settings: Settings) -> Settings:
    """Uploads an inspection of `company` with a `title`."""
    if settings.get("company") not in provider.accounts.companies():
        raise Invalid("company is not one of an account.")
    return provider.inspections.upload(settings["company"], str(settings.get("title", "Untitled inspection")))


def list_webhooks(provider: Provider, settings: Settings) -> Settings:
    """All deliveries, and the inspections of which one was acknowledged. `wait`: seconds, until all are settled."""
    deliveries = provider.webhooks.all(wait=number_in(settings, "wait"))
    return {
        "settled": all(delivery["state"] in ("acknowledged", "dropped") for delivery in deliveries),
        "acknowledged": [one["inspection"] for one in deliveries if one["state"] == "acknowledged"],
        "deliveries": deliveries,
    }


OPERATIONS: dict[tuple[str, str], Callable[[Provider, Settings], Settings | None]] = {
    ("POST", "faults"): add_fault,
    ("DELETE", "faults"): lambda provider, _: provider.faults.clear(),
    ("GET", "log"): read_log,
    ("DELETE", "log"): lambda provider, _: provider.log.clear(),
    ("GET", "tokens"): list_tokens,
    ("POST", "token_settings"): configure_tokens,
    ("POST", "grant"): grant,
    ("POST", "personal"): issue_personal,
    ("POST", "revoke"): revoke,
    ("POST", "revoke_all"): revoke_all,
    ("POST", "accounts"): add_account,
    ("POST", "inspections"): add_inspection,
    ("GET", "events"): lambda provider, _: {"events": provider.events.all()},
    ("GET", "webhooks"): list_webhooks,
    ("POST", "webhooks/pause"): lambda provider, _: provider.webhooks.pause(),
    ("POST", "webhooks/resume"): lambda provider, _: provider.webhooks.resume(),
    ("POST", "reset"): lambda provider, _: provider.reset(),
}
