"""SnapInspect Connect on the vendor's side: the authorization page and the token exchange.

Documented: the addresses, the parameters, the fields of the redirect and of the exchange's answer. Assumed: every
refusal (with the error codes of RFC 6749), and that undocumented parameters are refused.
"""

import hmac

from integrations.sandbox import templates
from integrations.sandbox.http_messages import (
    FORM,
    Answer,
    ClientRedirect,
    JSONResponse,
    Request,
    Response,
    error,
    html,
    parameter_problems,
)
from integrations.sandbox.provider import Provider
from integrations.sandbox.tokens import Pair

AUTHORIZATION_PATH = "/integration/SnapInspectConnect"
EXCHANGE_PATH = "/integration/ExchangeToken"

PARAMETERS = ("response_type", "client_id", "redirect_uri", "state")
DECISION_FIELDS = (*PARAMETERS, "account", "decision")
EXCHANGE_FIELDS = (*PARAMETERS, "client_secret", "refresh_token")


def authorize(provider: Provider, request: Request) -> Answer:
    """The authorization page, or the redirect that follows the user's decision.

    A request that does not match the registration gets a page and never a redirect (RFC 6749 section 4.1.2.1).
    """
    if not request.is_read and request.method != "POST":
        return refused([f"{request.method} is not possible here."], status=405)
    given, required = (request.query, PARAMETERS) if request.is_read else (request.form, DECISION_FIELDS)
    fields = dict(given)
    problems = parameter_problems(given, required=required) or registration_problems(provider, fields)
    if problems:
        return refused(problems)
    return decide(provider, fields) if request.method == "POST" else ask(provider, fields)


def registration_problems(provider: Provider, given: dict[str, str]) -> list[str]:
    """What does not match the registered application, one sentence each."""
    registered = provider.registration
    problems = []
    if given["response_type"] != "code":
        problems.append("response_type must be “code”.")
    if given["client_id"] != registered.client_id:
        problems.append("client_id is not that of the registered application.")
    if given["redirect_uri"] != registered.redirect_uri:
        problems.append("redirect_uri is not, character for character, the registered one.")
    return problems


def ask(provider: Provider, given: dict[str, str]) -> Response:
    return html(
        templates.authorization_page(
            action=AUTHORIZATION_PATH,
            app_name=provider.registration.app_name,
            hidden={name: given[name] for name in PARAMETERS},
            accounts=provider.accounts.all(),
        )
    )


def decide(provider: Provider, given: dict[str, str]) -> Answer:
    account = provider.accounts.find(given["account"])
    if account is None:
        return refused(["account is not one of those on the list."])
    if given["decision"] not in ("allow", "deny"):
        return refused(["decision must be “allow” or “deny”."])
    if given["decision"] == "deny":
        # Assumed: the vendor only documents that failed authorizations come back too.
        failure = {"error": "access_denied", "error_description": "The customer refused access."}
        return ClientRedirect(given["redirect_uri"], {**failure, "state": given["state"]})
    return ClientRedirect(given["redirect_uri"], token_fields(provider.tokens.grant(account.user_id), given["state"]))


def refused(problems: list[str], *, status: int = 400) -> Response:
    return html(templates.refusal_page(problems), status)


def exchange(provider: Provider, request: Request) -> Answer:
    """The new pair of tokens as JSON, or a refusal that changes nothing."""
    if request.method != "POST":
        return error(405, "invalid_request", "Only POST is possible here.", {"Allow": "POST"})
    if request.content_type != FORM:
        return error(400, "invalid_request", f"The body must be {FORM}.")
    if request.query:
        return error(400, "invalid_request", "Parameters belong into the body.")
    if problems := parameter_problems(request.form, required=EXCHANGE_FIELDS):
        return error(400, "invalid_request", " ".join(problems))
    given = dict(request.form)
    registered = provider.registration
    if not (
        equal(given["client_id"], registered.client_id) and equal(given["client_secret"], registered.client_secret)
    ):
        return error(401, "invalid_client", "The client ID or the client secret is wrong.")
    if problems := registration_problems(provider, given):
        return error(400, "invalid_request", " ".join(problems))
    pair = provider.tokens.exchange(given["refresh_token"])
    if pair is None:
        return error(400, "invalid_grant", "The refresh token is not valid.")
    return JSONResponse(token_fields(pair, given["state"]))


def token_fields(pair: Pair, state: str) -> dict[str, str]:
    """The documented fields of a pair, in the redirect and in the exchange's answer."""
    return {
        "access_token": pair.access_token,
        "token_type": "Bearer",
        "state": state,
        "refresh_token": pair.refresh_token,
    }


def equal(given: str, registered: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(given.encode(), registered.encode())
