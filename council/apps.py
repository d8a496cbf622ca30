from django.apps import AppConfig


class CouncilConfig(AppConfig):
    name = "council"

    def ready(self) -> None:
        from accounts import holdings
        from council.holding import Councils

        holdings.register(Councils())
