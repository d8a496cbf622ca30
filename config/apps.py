from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        from config import checks, metrics  # noqa: F401  # registers them
        from config.http import access_log

        metrics.register()
        access_log.register()
