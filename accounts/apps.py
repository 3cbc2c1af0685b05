from django.apps import AppConfig
from django.utils.module_loading import import_string


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People and customers"

    def ready(self) -> None:
        for module in ("account_trail", "known_browsers"):
            import_string(f"accounts.{module}.connect")()  # by name: models are loaded only now
