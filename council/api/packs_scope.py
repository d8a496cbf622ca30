"""Councils answer from packs: a key that sets seats to work on one needs ``packs:read`` beside ``councils:run``."""

from __future__ import annotations

from uuid import UUID

from accounts.api.views import ApiView
from accounts.scopes import Scope
from council.models import CouncilSession


def check_packs(view: ApiView, session_id: UUID) -> None:
    """Raises ``InsufficientScope`` for a key without ``packs:read`` when this council of the caller's reads packs."""
    if view.key is None or Scope.PACKS_READ in view.key.granted:
        return
    if CouncilSession.objects.filter(pk=session_id, owner=view.user, packs__isnull=False).exists():
        view.require_scopes(Scope.PACKS_READ)
