"""The API at the root. Documented: `/user` and the Bearer header. Assumed: `/inspections`, POST to it, every refusal.

A token sees the inspections of its own company; others do not exist for it.
"""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from integrations.sandbox.accounts import Account
from integrations.sandbox.http_messages import Answer, JSONResponse, Request, error
from integrations.sandbox.provider import Provider

PAGE_SIZE = 20


def resource(provider: Provider, request: Request) -> Answer:
    """The resource at this path, for the company of the request's token."""
    name, _, inspection_id = request.path[1:].partition("/")
    if name != "inspections" and request.path != "/user":
        return error(404, "not_found", "There is nothing at this address.")
    makes = request.method == "POST" and request.path == "/inspections"
    if not request.is_read and not makes:
        return error(405, "method_not_allowed", "Only GET is possible here.", {"Allow": "GET, HEAD"})
    token = provider.tokens.valid(request.bearer)
    account = provider.accounts.find(token.account) if token else None
    if account is None:
        # RFC 6750 section 3: a 401 names the scheme.
        return error(401, "invalid_token", "The token is missing or revoked.", {"WWW-Authenticate": "Bearer"})
    if name == "user":
        return JSONResponse(account.as_user())
    if makes:
        return make_inspection(provider, account, request)
    if not inspection_id:
        return list_inspections(provider, account, request)
    inspection = provider.inspections.find(inspection_id)
    if inspection is None or inspection["iCompanyID"] != account.company_id:
        return error(404, "not_found", "There is no such inspection.")
    return JSONResponse(inspection)


def make_inspection(provider: Provider, account: Account, request: Request) -> Answer:
    """The new inspection, with the title that the JSON of the body has under `sTitle`."""
    try:
        asked = json.loads(request.body)
    except ValueError:
        asked = None
    title = asked.get("sTitle") if isinstance(asked, dict) else None
    if not isinstance(title, str) or not title:
        return error(400, "invalid_request", "The body must be a JSON object with sTitle.")
    return JSONResponse(provider.inspections.upload(account.company_id, title), 201)


def list_inspections(provider: Provider, account: Account, request: Request) -> Answer:
    """One page of twenty, the earliest change first (`sort=newest`: the latest).

    `next` is the address of the following page, or null. Pages are offsets: a change between two requests can move a
    record past the reader. A reader that must miss nothing overlaps the periods it asks for.
    """
    query = dict(request.query)
    try:
        since = moment(query["since"]) if "since" in query else None
        page = int(query.get("page", "1"))
    except ValueError:
        return error(400, "invalid_request", "since must be ISO 8601, page a number.")
    if page < 1:
        return error(400, "invalid_request", "The first page is 1.")
    found = provider.inspections.of_company(account.company_id, since=since)
    if query.get("sort") == "newest":
        found.reverse()
    following = None
    if len(found) > page * PAGE_SIZE:
        target = f"{request.path}?{urlencode({**query, 'page': page + 1})}"
        following = f"http://{request.headers.get('Host', '')}{target}"
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    return JSONResponse({"inspections": shown, "page": page, "next": following})


def moment(text: str) -> datetime:
    """A moment in ISO 8601; without an offset it is UTC. Raises ValueError for anything else."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
