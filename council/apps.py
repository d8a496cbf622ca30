from django.apps import AppConfig


class CouncilConfig(AppConfig):
    name = "council"

    def ready(self) -> None:
        from accounts.webhooks import subjects
        from council import selectors

        subjects.register("session", "/api/council-sessions/{}", selectors.owns)
