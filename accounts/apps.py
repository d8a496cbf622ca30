from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from django.contrib import admin

        from accounts import checks, receivers  # noqa: F401  # connects and registers them
        from accounts.audit.admin import cover

        cover(admin.site)  # django.contrib.admin, which stands before us, has found all pages by now
