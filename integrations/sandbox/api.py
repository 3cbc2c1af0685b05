"""The API at the root. Documented: `/user` and the Bearer header. Assumed: everything else here.

A token sees the records of its own company; those of others do not exist for it.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from integrations.sandbox.accounts import Account
from integrations.sandbox.messages import Answer, JSONAnswer, Request, refusal
from integrations.sandbox.world import World

PAGE_SIZE = 20

ASSETS = (
    {"iAssetID": 3301, "iCompanyID": 6847, "sAddress": "12 Harbour Street"},
    {"iAssetID": 3302, "iCompanyID": 6847, "sAddress": "3 Quay Lane"},
    {"iAssetID": 3401, "iCompanyID": 7001, "sAddress": "8 Meadow Row"},
    {"iAssetID": 3501, "iCompanyID": 7250, "sAddress": "5 Lantern Square"},
)


def resource(world: World, request: Request) -> Answer:
    """The document at this path for the company of the request's token."""
    first, _, rest = request.path[1:].partition("/")
    if first not in ("user", "inspections", "assets") or (rest and first != "inspections"):
        return refusal(404, "not_found", "There is nothing at this address.")
    if not request.reads:
        return refusal(405, "method_not_allowed", "Only GET is possible here.", Allow="GET, HEAD")
    token = world.tokens.opening(request.bearer)
    account = world.accounts.find(token.account) if token else None
    if account is None:
        # RFC 6750 section 3: a 401 names the scheme.
        return refusal(401, "invalid_token", "The token is missing or dead.", WWW_Authenticate="Bearer")
    if first == "user":
        return JSONAnswer(account.as_user())
    if first == "assets":
        return JSONAnswer({"assets": [asset for asset in ASSETS if asset["iCompanyID"] == account.company_id]})
    return one_inspection(world, account, rest) if rest else list_inspections(world, account, request)


def one_inspection(world: World, account: Account, inspection_id: str) -> Answer:
    inspection = world.inspections.find(inspection_id)
    if inspection is None or inspection["iCompanyID"] != account.company_id:
        return refusal(404, "not_found", "There is no such inspection.")
    return JSONAnswer(inspection)


def list_inspections(world: World, account: Account, request: Request) -> Answer:
    """One page of twenty, the earliest change first (`sort=newest`: the latest). `next` is the address of the following
    page, or null.

    Pages are counted, not marked: a change between two requests can move a record past the reader, as it does
    with many an API. A reader that must miss nothing overlaps its moments.
    """
    query = dict(request.query)
    try:
        since = moment(query["since"]) if "since" in query else None
        page = int(query.get("page", "1"))
    except (ValueError, OverflowError, OSError):
        return refusal(400, "invalid_request", "since must be ISO 8601 or epoch seconds, page a number.")
    if page < 1:
        return refusal(400, "invalid_request", "Pages are counted from 1.")
    found = world.inspections.of_company(account.company_id, since=since)
    if query.get("sort") == "newest":
        found.reverse()
    shown = found[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
    document: dict[str, Any] = {"inspections": shown, "page": page, "next": None}

    def address(number: int) -> str:
        query["page"] = str(number)
        return f"http://{request.headers.get('Host', '')}{request.path}?{urlencode(query)}"

    if len(found) > page * PAGE_SIZE:
        document["next"] = address(page + 1)
    return JSONAnswer(document, first_page=address(1))


def moment(text: str) -> datetime:
    """ISO 8601 (without an offset: UTC) or seconds since 1970. Raises ValueError for anything else."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        parsed = datetime.fromisoformat(text)
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
