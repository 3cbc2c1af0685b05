"""Pages that wait for a worker: they ask for themselves every second, or are loaded again by hand."""

from django.http import HttpRequest, HttpResponse


def told(request: HttpRequest, *, still: bool) -> HttpResponse | None:
    """For a page's own asking: nothing while it should `still` wait, then that it should be loaded anew.

    None for a browser that loads the page: only that may change anything.
    """
    if "HX-Request" not in request.headers:
        return None
    response = HttpResponse(status=204)
    if not still:
        response["HX-Refresh"] = "true"
    return response
