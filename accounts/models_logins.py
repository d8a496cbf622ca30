"""Login sessions: one row for each browser or app that somebody is signed in with (or is about to be)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from realtime.ids import uuid7


def _over(now: datetime) -> Q:
    idle = now - timedelta(minutes=settings.SESSION_IDLE_MINUTES)
    oldest = now - timedelta(hours=settings.SESSION_MAX_HOURS)
    return Q(last_seen_at__lte=idle) | Q(created_at__lte=oldest)


class LoginSessionQuerySet(models.QuerySet["LoginSession"]):
    """Both time-outs are asked of the row whenever it is read, so a shorter setting holds for those that are signed in already."""

    def alive(self) -> LoginSessionQuerySet:
        return self.exclude(_over(timezone.now()))

    def over(self) -> LoginSessionQuerySet:
        return self.filter(_over(timezone.now()))


class LoginSession(models.Model):
    """What ``accounts.session_store`` keeps. Only the SHA-256 of the key is stored: whoever reads the table cannot sign in with it.
    The key has 165 random bits and needs no slow hash; ``id`` names the session in the API and opens nothing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    data = models.TextField(editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, editable=False, on_delete=models.CASCADE, related_name="login_sessions"
    )
    created_at = models.DateTimeField(editable=False, db_index=True)  # when its owner signed in
    last_seen_at = models.DateTimeField(editable=False, db_index=True)  # to the minute
    ip = models.GenericIPAddressField(null=True, editable=False)
    user_agent = models.CharField(max_length=200, blank=True, editable=False)

    objects = LoginSessionQuerySet.as_manager()

    def __str__(self) -> str:
        return f"login of {self.user_id or 'nobody'} since {self.created_at:%Y-%m-%d %H:%M}"

    @staticmethod
    def hash(key: str) -> bytes:
        return hashlib.sha256(key.encode()).digest()

    @property
    def ends_at(self) -> datetime:
        """When it ends if nothing more is done with it."""
        idle = self.last_seen_at + timedelta(minutes=settings.SESSION_IDLE_MINUTES)
        return min(idle, self.created_at + timedelta(hours=settings.SESSION_MAX_HOURS))
