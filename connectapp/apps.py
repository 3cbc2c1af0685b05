from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    """Django's admin, as our own site with its groups and its sign-in."""

    default_site = "connectapp.staff_site.StaffSite"
