from django.apps import AppConfig
from django.utils.module_loading import import_string


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "People and customers"

    def ready(self) -> None:
        import_string("accounts.account_trail.connect")()  # by name: models are loaded only now
