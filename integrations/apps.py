from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "SnapInspect"

    def ready(self) -> None:
        from integrations import checks  # noqa: F401, PLC0415  (checks register themselves)
        from integrations.events import handlers  # noqa: PLC0415

        try:
            handlers.load(settings.EVENT_HANDLERS)
        except ImportError as problem:
            # At the start: a worker that found out later would have processed events without them.
            raise ImproperlyConfigured(f"EVENT_HANDLERS: {problem}") from None
