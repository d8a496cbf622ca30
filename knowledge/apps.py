from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "knowledge"

    def ready(self) -> None:
        from accounts import holdings
        from knowledge.holding import Packs

        holdings.register(Packs())
