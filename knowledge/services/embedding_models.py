"""The registry of embedding models. No pack's state and no event: packs choose from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from knowledge.models import EmbeddingModel, EmbeddingSpace, KnowledgePack, Provider
from realtime.errors import Conflict, InvalidInput, NotFound

EMBEDDING_MODEL_FIELDS: Final = (
    "name", "provider", "base_url", "api_key_env", "model", "dimension", "send_dimension", "batch_size", "batch_chars",
    "query_prefix", "passage_prefix", "enabled",
)  # fmt: skip
# What a vector depends on: fixed while vectors of it exist.
VECTOR_FIELDS: Final = (
    "provider",
    "base_url",
    "model",
    "dimension",
    "send_dimension",
    "query_prefix",
    "passage_prefix",
)
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")


@transaction.atomic
def save_embedding_model(model_id: UUID | None, values: Mapping[str, Any]) -> EmbeddingModel:
    """Register a model, or change one. Raises ``InvalidInput`` for a key that is no name of a variable or an endpoint without an
    address, ``Conflict`` for a change of what existing vectors depend on."""
    found = _locked(model_id) if model_id else EmbeddingModel()
    changed = {
        name: values[name] for name in EMBEDDING_MODEL_FIELDS if name in values and values[name] != getattr(found, name)
    }
    if model_id and any(name in VECTOR_FIELDS for name in changed) and in_use(model_id):
        raise Conflict("packs use this model: register another one for other vectors", code="embedding_model_in_use")
    for name, value in changed.items():
        setattr(found, name, value)
    check_embedding_model(found)
    found.save()
    return found


@transaction.atomic
def delete_embedding_model(model_id: UUID) -> None:
    """Raises ``Conflict`` while a pack uses it."""
    found = _locked(model_id)
    if in_use(model_id):
        raise Conflict("packs use this model", code="embedding_model_in_use")
    found.delete()


def in_use(model_id: UUID) -> bool:
    spaces = EmbeddingSpace.objects.filter(embedding=model_id)
    return spaces.exists() or KnowledgePack.objects.filter(embedding=model_id).exists()


def check_embedding_model(model: EmbeddingModel) -> None:
    if model.api_key_env and not _VARIABLE.fullmatch(model.api_key_env):
        detail = "The name of an environment variable: capital letters, digits and underscores. Never the key itself."
        raise InvalidInput(detail, errors=[{"pointer": "/api_key_env", "detail": detail}])
    if model.provider == Provider.OPENAI and not model.base_url:
        detail = "An OpenAI-compatible model needs the address of its server."
        raise InvalidInput(detail, errors=[{"pointer": "/base_url", "detail": detail}])


def _locked(model_id: UUID) -> EmbeddingModel:
    found = EmbeddingModel.objects.select_for_update(no_key=True).filter(pk=model_id).first()
    if found is None:
        raise NotFound("There is no such embedding model.")
    return found
