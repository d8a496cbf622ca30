from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "knowledge"

    def ready(self) -> None:
        from accounts import holdings
        from accounts.webhooks import subjects
        from knowledge import selectors
        from knowledge.holding import Packs

        holdings.register(Packs())
        subjects.register("pack", "/api/knowledge-packs/{}", selectors.works_with)
