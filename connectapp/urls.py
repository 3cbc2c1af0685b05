from django.contrib import admin
from django.urls import include, path

from connectapp import health, metrics

urlpatterns = [
    # First: a call of the API would be compared with every page's address.
    path("api/v1/", include("integrations.api.urls")),
    path("", include("integrations.urls")),
    path("", include("accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("health/live", health.live, name="health_live"),
    path("health/ready", health.ready, name="health_ready"),
    path("metrics", metrics.scrape, name="metrics"),
]

handler400 = "connectapp.error_pages.bad_request"
handler404 = "connectapp.error_pages.not_found"
handler500 = "connectapp.error_pages.server_error"
