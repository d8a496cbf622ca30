"""The audit log: entries that are only ever added, and the seals over them (``accounts.audit``)."""

from __future__ import annotations

from typing import Final

import pgtrigger
from django.db import models
from django.db.models import Q

from realtime.ids import uuid7

# What of an entry may say who somebody is. It is chained as a salted hash, so that it can be erased.
PERSONAL: Final = ("ip", "user_agent", "object_name")
_REFUSED: Final = "RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';"
_ERASABLE: Final = "ARRAY['ip', 'user_agent', 'object_name', 'salt']"
_SEALING: Final = "ARRAY['number', 'seal_id']"


class Outcome(models.TextChoices):
    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"


class ActorKind(models.TextChoices):
    USER = "user"
    KEY = "key"  # a program; the user whose key it is stands beside it
    ANONYMOUS = "anonymous"  # somebody who has not signed in
    SYSTEM = "system"  # the console and scheduled work


class AuditSeal(models.Model):
    """One batch of entries: their hashes, and a hash over these and the seal before."""

    number = models.BigIntegerField(primary_key=True)  # 1, 2, 3 without gaps
    first = models.BigIntegerField()  # the number of its first entry
    leaves = models.BinaryField()  # SHA-256 of each entry, 32 bytes each, in the order of their numbers
    previous = models.BinaryField(max_length=32)
    digest = models.BinaryField(max_length=32)
    sealed_at = models.DateTimeField(db_index=True)
    forgotten_at = models.DateTimeField(null=True)  # its entries' time was up

    class Meta:
        triggers = [
            pgtrigger.Trigger(
                name="seal_stays",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func=(
                    "IF TG_OP = 'UPDATE' AND current_setting('quorum.audit', true) = 'forget' AND OLD.forgotten_at IS NULL "
                    "AND to_jsonb(NEW) - 'forgotten_at' = to_jsonb(OLD) - 'forgotten_at' THEN RETURN NEW; END IF; "
                    + _REFUSED
                ),
            )
        ]

    def __str__(self) -> str:
        return f"seal {self.number}"

    @property
    def entries(self) -> int:
        return len(self.leaves) // 32


class AuditHead(models.Model):
    """The newest seal, said a second time: else nobody would miss it. One row."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    seal = models.BigIntegerField()
    entries = models.BigIntegerField()  # the number of the newest sealed entry
    digest = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="audit_one_head")]
        triggers = [
            pgtrigger.Trigger(
                name="head_goes_on",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func=(
                    "IF TG_OP = 'UPDATE' AND NEW.seal = OLD.seal + 1 AND NEW.entries > OLD.entries THEN RETURN NEW; END IF; "
                    + _REFUSED
                ),
            )
        ]

    def __str__(self) -> str:
        return f"head at seal {self.seal}"


class AuditEntry(models.Model):
    """Who did what to what, and whether they were let. Never with contents, secrets or e-mail addresses.

    ``number`` and ``seal`` are given when it is sealed. People are named by their id alone, without a foreign key: the entry outlives
    them.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)  # the database's clock: a trigger sets it
    action = models.CharField(max_length=40)
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.ALLOWED)
    actor_kind = models.CharField(max_length=9, choices=ActorKind)
    actor_id = models.UUIDField(null=True)
    key_id = models.UUIDField(null=True)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=120, blank=True)
    details = models.JSONField(default=dict)
    request_id = models.CharField(max_length=128, blank=True)
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)
    salt = models.BinaryField(max_length=16, null=True)  # null: what is personal in it has been erased
    commitment = models.BinaryField(max_length=32)  # SHA-256 of the salt and what is personal
    number = models.BigIntegerField(null=True, unique=True)
    seal = models.ForeignKey(AuditSeal, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        verbose_name_plural = "audit entries"
        constraints = [
            models.CheckConstraint(
                condition=Q(number=None, seal=None) | Q(number__isnull=False, seal__isnull=False),
                name="audit_sealed_with_number",
            )
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="audit_newest"),
            models.Index(fields=["actor_id", "-created_at"], name="audit_of_actor"),
            models.Index(fields=["object_id", "-created_at"], name="audit_of_object"),
            models.Index(fields=["action", "-created_at"], name="audit_of_action"),
            models.Index(fields=["created_at", "id"], name="audit_unsealed", condition=Q(seal=None)),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="entry_begins",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="NEW.created_at = clock_timestamp(); NEW.number = NULL; NEW.seal_id = NULL; RETURN NEW;",
            ),
            pgtrigger.Trigger(
                name="entry_stays",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                func=(
                    "IF TG_OP = 'DELETE' THEN "
                    "IF current_setting('quorum.audit', true) = 'forget' AND OLD.seal_id IS NOT NULL THEN RETURN OLD; END IF; "
                    f"ELSIF OLD.seal_id IS NULL AND NEW.seal_id IS NOT NULL AND to_jsonb(NEW) - {_SEALING} = "
                    f"to_jsonb(OLD) - {_SEALING} THEN RETURN NEW; "
                    "ELSIF current_setting('quorum.audit', true) = 'erase' AND NEW.ip IS NULL AND NEW.user_agent = '' "
                    f"AND NEW.object_name = '' AND NEW.salt IS NULL AND to_jsonb(NEW) - {_ERASABLE} = "
                    f"to_jsonb(OLD) - {_ERASABLE} THEN RETURN NEW; END IF; " + _REFUSED
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.outcome}"
