"""SnapInspect Connect, the vendor's side: the authorization page and the token exchange.

Documented: the addresses, the parameters, what the return and the exchange carry. Assumed: every refusal (the
words of RFC 6749 are used) and that undocumented parameters are refused.
"""

import hmac

from integrations.sandbox import layout
from integrations.sandbox.faults import Met
from integrations.sandbox.messages import (
    FORM,
    Answer,
    JSONAnswer,
    Request,
    Response,
    ReturnToApplication,
    html,
    misfits,
    refusal,
)
from integrations.sandbox.world import World

CONNECT_PATH = "/integration/SnapInspectConnect"
EXCHANGE_PATH = "/integration/ExchangeToken"

CONNECT_PARAMETERS = ("response_type", "client_id", "redirect_uri", "state")
DECISION_FIELDS = (*CONNECT_PARAMETERS, "account", "decision")
EXCHANGE_FIELDS = (*CONNECT_PARAMETERS, "client_secret", "refresh_token")


def consent(world: World, request: Request, met: Met) -> Answer:
    """The page that asks the customer, or the redirect that follows the customer's decision.

    A request that does not fit the registration gets a page and never a redirect: an address nobody registered
    must not receive anything (RFC 6749 section 4.1.2.1).
    """
    if request.reads:
        problems = misfits(request.query, required=CONNECT_PARAMETERS)
        return refused(problems) if problems else ask(world, dict(request.query))
    if request.method != "POST":
        return refused([f"{request.method} is not possible here."], status=405)
    problems = misfits(request.form, required=DECISION_FIELDS)
    return refused(problems) if problems else decide(world, dict(request.form), met)


def unregistered(world: World, given: dict[str, str]) -> list[str]:
    """What does not fit the registered application, one sentence each."""
    registered = world.registration
    problems = []
    if given["response_type"] != "code":
        problems.append("response_type must be “code”.")
    if given["client_id"] != registered.client_id:
        problems.append("client_id is not that of the registered application.")
    if given["redirect_uri"] != registered.redirect_uri:
        problems.append("redirect_uri is not, character for character, the registered one.")
    return problems


def ask(world: World, given: dict[str, str]) -> Response:
    if problems := unregistered(world, given):
        return refused(problems)
    return html(
        layout.consent_page(
            action=CONNECT_PATH,
            app_name=world.registration.app_name,
            hidden={name: given[name] for name in CONNECT_PARAMETERS},
            accounts=world.accounts.all(),
        )
    )


def decide(world: World, given: dict[str, str], met: Met) -> Answer:
    problems = unregistered(world, given)
    account = world.accounts.find(given["account"])
    if account is None:
        problems.append("account is not one of those on the list.")
    if given["decision"] not in ("allow", "deny"):
        problems.append("decision must be “allow” or “deny”.")
    if problems or account is None:
        return refused(problems)
    if given["decision"] == "deny":
        # Assumed: the vendor only says that failed authorizations come back too.
        parameters = [("error", "access_denied"), ("error_description", "The customer refused access.")]
        return ReturnToApplication(given["redirect_uri"], [*parameters, ("state", given["state"])])
    pair = world.tokens.grant(account.user_id, length=met.token_length())
    return ReturnToApplication(
        given["redirect_uri"],
        [
            ("access_token", pair.access_token),
            ("token_type", "Bearer"),
            ("state", given["state"]),
            ("refresh_token", pair.refresh_token),
        ],
    )


def refused(problems: list[str], *, status: int = 400) -> Response:
    return html(layout.refusal_page(problems), status)


def exchange(world: World, request: Request, met: Met) -> Answer:
    """The new pair of tokens as JSON, or a refusal that changes nothing."""
    if request.method != "POST":
        return refusal(405, "invalid_request", "Only POST is possible here.", Allow="POST")
    if request.content_type != FORM:
        return refusal(400, "invalid_request", f"The body must be {FORM}.")
    if request.query:
        return refusal(400, "invalid_request", "Parameters belong into the body.")
    if problems := misfits(request.form, required=EXCHANGE_FIELDS):
        return refusal(400, "invalid_request", " ".join(problems))
    given = dict(request.form)
    registered = world.registration
    if not (same(given["client_id"], registered.client_id) and same(given["client_secret"], registered.client_secret)):
        return refusal(401, "invalid_client", "The client ID or the client secret is wrong.")
    if problems := unregistered(world, given):
        return refusal(400, "invalid_request", " ".join(problems))
    pair = world.tokens.exchange(given["refresh_token"], length=met.token_length())
    if pair is None:
        return refusal(400, "invalid_grant", "The refresh token is not honoured.")
    return JSONAnswer(
        {
            "access_token": pair.access_token,
            "token_type": "Bearer",
            "state": given["state"],
            "refresh_token": pair.refresh_token,
        }
    )


def same(given: str, registered: str) -> bool:
    return hmac.compare_digest(given.encode(), registered.encode())
