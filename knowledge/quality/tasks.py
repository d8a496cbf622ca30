"""Tasks of the quality loop; ``knowledge.tasks`` makes them known to Celery."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from accounts.models import User
from knowledge import services
from knowledge.models import KnowledgePack
from knowledge.quality import searches
from realtime.errors import QuorumError

logger = logging.getLogger(__name__)


@shared_task(name="knowledge.tasks.evaluate_pack")
def evaluate_pack(pack_id: str, user_id: str | None, mode: str) -> None:
    """Ask a pack's golden questions. When this message is lost nothing happens, and whoever wanted it asks again."""
    pack = KnowledgePack.objects.filter(pk=UUID(pack_id)).first()
    if pack is None:
        return  # purged meanwhile
    try:
        services.evaluate(pack, User.objects.filter(pk=user_id).first() if user_id else None, mode)
    except QuorumError as error:  # the last question was removed, or the pack, or the embedding model is away
        logger.warning("pack %s was not evaluated: %s", pack_id, error.detail)


@shared_task(name="knowledge.tasks.sweep_searches")
def sweep_searches() -> None:
    """Forget searches that are older than the log is kept."""
    searches.purge()
