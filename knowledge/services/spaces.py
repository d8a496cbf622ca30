"""Changes of embedding models and of the model that a pack uses.

A pack's vectors lie in its *present* space. Another choice of model begins a *future* one, which ``knowledge.spaces`` fills in the
background while searches go on in the present; when it is complete the two change places in one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from accounts import audit
from knowledge import embeddings, minilm
from knowledge.models import EmbeddingModel, EmbeddingSpace, KnowledgePack, Provider, SpaceState
from knowledge.services import locking
from knowledge.shapes import pack_embedding
from realtime import log, nudge
from realtime.errors import Conflict, FieldError, IllegalState, InvalidInput, NotFound

MODEL_FIELDS: Final = (
    "name", "provider", "base_url", "api_key_env", "model", "dimension", "send_dimension", "batch_size", "batch_chars",
    "query_prefix", "passage_prefix", "enabled",
)  # fmt: skip
# What makes a vector what it is: fixed from the moment that a space holds vectors of the model.
MODEL_IDENTITY: Final = ("provider", "model", "dimension", "send_dimension", "passage_prefix")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")


# --- The registry; staff only, which is for the callers to see to ----------------------------------------------------


@transaction.atomic
def create_embedding_model(**fields: Any) -> EmbeddingModel:
    """Register a model (``MODEL_FIELDS``). Raises ``InvalidInput`` with a pointer for each wrong field."""
    _refuse_unknown(fields)
    model = EmbeddingModel(**fields)
    check_embedding_model(model)
    model.save(force_insert=True)
    audit.record("embedding_model.created", model)
    return model


@transaction.atomic
def update_embedding_model(model_id: UUID, changes: Mapping[str, Any]) -> EmbeddingModel:
    """Change a registered model. Raises ``Conflict`` when its vectors would become others than those that packs hold already:
    register a new model and move the packs to it."""
    _refuse_unknown(changes)
    model = EmbeddingModel.objects.select_for_update(no_key=True).filter(pk=model_id).first()
    if model is None:
        raise NotFound("There is no such embedding model.")
    changed = {name: value for name, value in changes.items() if getattr(model, name) != value}
    if (frozen := sorted(set(changed) & set(MODEL_IDENTITY))) and model.spaces.exists():
        raise Conflict(f"packs hold vectors of this model: {', '.join(frozen)} cannot change", code="model_in_use")
    for name, value in changed.items():
        setattr(model, name, value)
    check_embedding_model(model)
    model.save()
    audit.record("embedding_model.changed", model, fields=sorted(changed))
    return model


def disable_embedding_model(model_id: UUID) -> EmbeddingModel:
    """Nobody may choose it any more; packs that use it go on."""
    return update_embedding_model(model_id, {"enabled": False})


@transaction.atomic
def delete_embedding_model(model_id: UUID) -> None:
    """Raises ``Conflict`` while a pack uses it."""
    model = EmbeddingModel.objects.select_for_update().filter(pk=model_id).first()
    if model is None:
        raise NotFound("There is no such embedding model.")
    if embedding_model_in_use(model):
        raise Conflict("packs use this model", code="model_in_use")
    audit.record("embedding_model.deleted", model)
    model.delete()


def embedding_model_in_use(model: EmbeddingModel) -> bool:
    """Whether packs have chosen it or hold vectors of it."""
    return model.spaces.exists() or model.packs.exists()


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    if unknown := sorted(set(fields) - set(MODEL_FIELDS)):
        raise _wrong([{"pointer": f"/{name}", "detail": "is no field of an embedding model"} for name in unknown])


def check_embedding_model(model: EmbeddingModel) -> None:
    """Raise ``InvalidInput`` with a pointer for each field that is wrong by itself or beside the others."""
    errors = _endpoint_errors(model) if model.provider == Provider.OPENAI else _built_in_errors(model)
    try:
        model.full_clean()
    except ValidationError as error:
        errors += [
            {"pointer": "" if name == "__all__" else f"/{name}", "detail": text}
            for name, texts in error.message_dict.items()
            for text in texts
        ]
    if model.api_key_env and not _VARIABLE.fullmatch(model.api_key_env):
        errors.append(
            {"pointer": "/api_key_env", "detail": "is the name of an environment variable, never the key itself"}
        )
    if errors:
        raise _wrong(errors)


def _endpoint_errors(model: EmbeddingModel) -> list[FieldError]:
    try:
        parts = urlsplit(model.base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        good = False
    return (
        [] if good else [{"pointer": "/base_url", "detail": "must be an http or https URL without a user or password"}]
    )


def _built_in_errors(model: EmbeddingModel) -> list[FieldError]:
    fixed = {
        "model": minilm.NAME, "dimension": minilm.DIMENSION, "base_url": "", "api_key_env": "", "query_prefix": "",
        "passage_prefix": "", "send_dimension": False,
    }  # fmt: skip
    return [
        {"pointer": f"/{name}", "detail": f"of the built-in model is {value!r}"}
        for name, value in fixed.items()
        if getattr(model, name) != value
    ]


def _wrong(errors: list[FieldError]) -> InvalidInput:
    return InvalidInput("the embedding model has wrong fields", errors=errors)


# --- A pack's choice ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pack's vectors should be: of a registered model, or (None) of the one that the settings name."""

    embedding: EmbeddingModel | None
    model: str
    dimension: int

    def matches(self, space: EmbeddingSpace) -> bool:
        mine = (self.embedding.pk if self.embedding else None, self.model, self.dimension)
        return mine == (space.embedding_id, space.model, space.dimension)


def wanted(embedding: EmbeddingModel | None) -> Wanted:
    """May ask the settings' server for its dimension, so not in a transaction. Raises ``EmbeddingError``."""
    if embedding is not None:
        return Wanted(embedding, embedding.model, embedding.dimension)
    default = embeddings.get_embedder()
    return Wanted(None, default.model, default.dimension)


def choose_embedding(pack_id: UUID, name: str | None) -> KnowledgePack:
    """Use the registered model of this name, or (None) the settings', for the pack. Searches stay as they are until the new vectors
    are complete. Raises ``InvalidInput`` for a model that is not there or disabled."""
    embedding = EmbeddingModel.objects.filter(name=name).first() if name is not None else None
    if name is not None and (embedding is None or not embedding.enabled):
        detail = f"there is no enabled embedding model {name!r}"
        raise InvalidInput(detail, code="unknown_model", errors=[{"pointer": "/model", "detail": detail}])
    goal = wanted(embedding)
    with transaction.atomic():
        pack = locking.locked_pack(pack_id)
        locking.refuse_deleted(pack)
        rechosen = pack.embedding_id != (embedding.pk if embedding else None)
        if rechosen:
            pack.embedding = embedding
            pack.save(update_fields=["embedding"])
        begun = begin_migration(pack, goal)
        if not begun and rechosen:
            log.append(pack, ("pack.space_changed", pack_embedding(pack)))
        if begun or rechosen:
            audit.record("pack.embedding_changed", pack, model=goal.model)
    return pack


def reembed(pack_id: UUID) -> KnowledgePack:
    """Make all vectors of the pack anew with the model it has, as when that model's server has changed."""
    pack = KnowledgePack.objects.filter(pk=pack_id).select_related("embedding").first()
    if pack is None:
        raise NotFound("There is no such knowledge pack.")
    goal = wanted(pack.embedding)
    with transaction.atomic():
        pack = locking.locked_pack(pack_id)
        locking.refuse_deleted(pack)
        begin_migration(pack, goal, anew=True)
        audit.record("pack.embedding_changed", pack, model=goal.model)
    return pack


def begin_migration(pack: KnowledgePack, goal: Wanted, *, anew: bool = False) -> bool:
    """Make the future space of a locked pack, unless its vectors are as wanted or on their way there. A future of another kind is
    given up. True when something changed."""
    present = pack.spaces.filter(state=SpaceState.PRESENT).first()
    future = pack.spaces.filter(state=SpaceState.FUTURE).first()
    if present is None:
        return False  # nothing is indexed yet: the first batch makes the space
    if future and goal.matches(future) and not anew:
        return False
    if future:
        retire(future)
    if goal.matches(present) and not anew:
        if future:
            log.append(pack, ("pack.space_changed", pack_embedding(pack)))
        return future is not None
    space = EmbeddingSpace(pack=pack, state=SpaceState.FUTURE, embedding=goal.embedding, model=goal.model)
    space.dimension, space.chunker_version = goal.dimension, present.chunker_version
    space.total = pack.passage_count
    space.save()
    log.append(pack, ("pack.space_started", pack_embedding(pack)))
    request_filling(pack.pk)
    return True


@transaction.atomic
def cancel_migration(pack_id: UUID) -> KnowledgePack:
    """Give the future space up and stay with the present. Raises ``IllegalState`` when there is none, or when it is the settings
    that want another model (then the pack has to choose one of its own)."""
    pack = locking.locked_pack(pack_id)
    locking.refuse_deleted(pack)
    future = pack.spaces.filter(state=SpaceState.FUTURE).first()
    present = pack.spaces.filter(state=SpaceState.PRESENT).select_related("embedding").first()
    if future is None or present is None:
        raise IllegalState("no other vectors are being made for this pack", code="no_migration")
    if future.embedding_id is None and present.embedding_id is None and future.model != present.model:
        raise IllegalState("the settings name another model; choose one for the pack", code="settings_changed")
    retire(future)
    pack.embedding = present.embedding
    pack.save(update_fields=["embedding"])
    log.append(pack, ("pack.space_changed", pack_embedding(pack)))
    audit.record("pack.embedding_changed", pack, model=present.model)
    return pack


def retire(space: EmbeddingSpace) -> None:
    """From now on past: nobody searches or fills it, and a task drops it. The pack's row is locked."""
    space.state, space.retired_at = SpaceState.PAST, timezone.now()
    space.lease_token += 1  # whoever fills it is fenced off
    space.lease_expires_at, space.error = None, ""
    space.save(update_fields=["state", "retired_at", "lease_token", "lease_expires_at", "error"])
    nudge.send_task_on_commit("knowledge.tasks.drop_spaces", [], "index")


def request_filling(pack_id: UUID) -> None:
    """Wake an index worker after the commit. When that is lost, the sweeper finds the space."""
    nudge.send_task_on_commit("knowledge.tasks.fill_space", [str(pack_id)], "index")
