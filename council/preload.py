"""What a worker loads before its first turn instead of during it: the model SDK and the embedding model take seconds to import."""

from __future__ import annotations

import logging
from typing import cast

from django.conf import settings

from council.llm import loop
from council.llm.types import ProviderName
from knowledge.embeddings import get_embedder
from knowledge.errors import EmbeddingError

logger = logging.getLogger(__name__)


def preload() -> None:
    loop.provider_class(cast("ProviderName", settings.LLM_PROVIDER))
    try:
        get_embedder().embed_query("ready")
    except EmbeddingError as error:
        # Searches go on by words alone and say so; a worker that does not start would say nothing.
        logger.warning("the embedding model is not available: %s", error)
