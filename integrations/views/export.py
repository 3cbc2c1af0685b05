"""Everything that is kept for a customer, for its owners to take along."""

from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from integrations.operations import export


@require_POST
def download(request: HttpRequest, code: str) -> StreamingHttpResponse:
    """A file that is written while it is downloaded; a POST, so that no link makes anybody's database read it all."""
    customer = customer_for(request, code, roles=OWNERS)
    audit.record("customer.exported", customer=customer, actor=current_user(request))
    response = StreamingHttpResponse(export.lines(customer), content_type="application/x-ndjson")
    name = f"everything-{customer.code}-{timezone.now():%Y-%m-%d}.jsonl"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
