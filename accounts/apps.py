from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from django.contrib import admin

        from accounts import receivers  # noqa: F401  # connects them
        from accounts.audit.admin import cover

        cover(admin.site)  # django.contrib.admin, which stands before us, has found all pages by now
