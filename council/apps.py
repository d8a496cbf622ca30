from django.apps import AppConfig


class CouncilConfig(AppConfig):
    name = "council"

    def ready(self) -> None:
        from accounts import holdings
        from accounts.webhooks import subjects
        from council import selectors
        from council.holding import Councils

        holdings.register(Councils())
        subjects.register("session", "/api/council-sessions/{}", selectors.owns)
