"""Whom trials belong to, and the pack that some of the questions are about."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from accounts.models import User
from council.trials.questions import HERE
from knowledge import indexing
from knowledge.models import KnowledgePack
from knowledge.selectors import readable_packs
from knowledge.services import add_entries, create_pack

SERVICE_USER = "trial@service.invalid"  # RFC 2606: nobody gets mail there


class NoSuchUser(LookupError):
    """Of that address."""


def owner(email: str | None) -> User:
    """The user of that address; without one the service user, which cannot sign in and exists for trials alone."""
    found = User.objects.by_email(email or SERVICE_USER).first()
    if found is not None:
        return found
    if email:
        raise NoSuchUser(email)
    return User.objects.create_user(SERVICE_USER, name="Trials", is_active=False)


def install(user: User) -> KnowledgePack:
    """The user's copy of the bundled pack, made and indexed when it is missing. Its name tells its content apart from that of another
    version, so that no trial reads what another was asked about."""
    whole = (HERE / "pack.json").read_bytes()
    content: Mapping[str, Any] = json.loads(whole)
    name = f"{content['name']} ({hashlib.sha256(whole).hexdigest()[:8]})"
    pack = readable_packs(user).filter(owner=user, name=name).first()
    if pack is None:
        with transaction.atomic():
            pack = create_pack(user, name=name, description=content["description"], tags=["trial"])
            add_entries(pack, user, content["entries"])
    while indexing.index_once(pack.pk):
        pass
    return pack
