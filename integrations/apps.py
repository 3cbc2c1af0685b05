from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "SnapInspect"

    def ready(self) -> None:
        from integrations import checks  # noqa: F401, PLC0415  (registers the system checks)
