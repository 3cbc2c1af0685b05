"""Everything that is kept for a customer, for its owners to take along."""

from functools import partial

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.access import OWNERS, current_user, customer_for
from integrations.operations import export
from integrations.views import downloads


@require_POST
def download(request: HttpRequest, code: str) -> HttpResponseBase:
    """A file that is written while it is downloaded; a POST, so that no link makes anybody's database read it all."""
    customer = customer_for(request, code, roles=OWNERS)
    return downloads.stream(
        request,
        customer,
        export.lines(customer),
        filename=f"everything-{customer.code}-{timezone.now():%Y-%m-%d}.jsonl",
        content_type="application/x-ndjson",
        record=partial(audit.record, "customer.exported", customer=customer, actor=current_user(request)),
    )
