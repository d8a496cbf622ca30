from django.apps import AppConfig


class KnowledgeConfig(AppConfig):
    name = "knowledge"

    def ready(self) -> None:
        from accounts.webhooks import subjects
        from knowledge import selectors

        subjects.register("pack", "/api/knowledge-packs/{}", selectors.works_with)
