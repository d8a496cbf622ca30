"""Who may do what: people, and the keys of their programs."""

from __future__ import annotations

import hashlib
import uuid
from typing import ClassVar

import pgtrigger
from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.scopes import ALL as ALL_SCOPES
from accounts.scopes import granted
from realtime.ids import uuid7
from realtime.models import Event, Stream


class UserManager(BaseUserManager["User"]):
    """Creates users by email; there are no user names."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> User:
        if not email:
            raise ValueError("a user needs an email address")
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: object) -> User:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.by_email(username or "").get()

    def by_email(self, email: str) -> models.QuerySet[User]:
        """At most one user. ``Lower`` as in the unique index: ``iexact`` compares ``UPPER`` and would read the whole table."""
        return self.alias(lower_email=Lower("email")).filter(lower_email=email.lower())


class User(AbstractUser):
    """A person. Signs in by email, compared without regard to case."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    username = None  # type: ignore[assignment]  # email is the login; Django documents None as the way to drop it
    email = models.EmailField("email address", unique=True)
    name = models.CharField(max_length=120, blank=True)
    first_name = None  # type: ignore[assignment]  # one ``name`` field serves every culture
    last_name = None  # type: ignore[assignment]

    plan = models.ForeignKey(
        "accounts.Plan", null=True, blank=True, on_delete=models.PROTECT, related_name="users",
        help_text="Empty: the default plan.",
    )  # fmt: skip

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]  # AbstractUser types its username manager

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_ci_unique",
                violation_error_message="A user with this email address exists already.",
            )
        ]
        triggers = [
            # Here rather than in a service: whoever makes a user (the admin, allauth, the console) makes their stream with it.
            pgtrigger.Trigger(
                name="user_has_stream",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                func="INSERT INTO accounts_userstream (id, last_seq, read_up_to) VALUES (NEW.id, 0, 0); RETURN NULL;",
            )
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        super().clean()
        self.email = self.email.lower()

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.partition("@")[0]


class ApiKey(models.Model):
    """A program's credential. Only the SHA-256 of its secret is stored: 255 random bits need no slow hash. After a rotation the
    secret before it goes on until ``previous_until``."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    scopes = ArrayField(models.CharField(max_length=20))
    prefix = models.CharField(max_length=12, editable=False)  # first characters, to tell keys apart in lists
    digest = models.BinaryField(max_length=32, unique=True, editable=False)
    previous_digest = models.BinaryField(max_length=32, unique=True, null=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_ip = models.GenericIPAddressField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)  # of what people decide; a use is no change

    # The digest that a caller was recognised by (``keys.live_key``): the present one or the one before.
    shown: bytes = b""

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="api_key_scopes_known",
                condition=Q(scopes__contained_by=[str(scope) for scope in ALL_SCOPES]) & Q(scopes__len__gt=0),
            ),
            models.CheckConstraint(
                name="api_key_previous_ends",
                condition=Q(previous_digest=None, previous_until=None)
                | Q(previous_digest__isnull=False, previous_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def granted(self) -> frozenset[str]:
        return granted(self.scopes)

    @staticmethod
    def hash(key: str) -> bytes:
        return hashlib.sha256(key.encode()).digest()


class SignIn(models.Model):
    """One attempt to sign in to an existing account. Attempts on unknown addresses are only logged: strangers fill no table."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_ins")
    succeeded = models.BooleanField()
    ip = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["user", "-at"], name="sign_in_user_at")]

    def __str__(self) -> str:
        return f"{self.user}: {'signed in' if self.succeeded else 'refused'}"


class IdempotencyRecord(models.Model):
    """The first answer to a POST that carried an ``Idempotency-Key``; ``status`` is null while that request is still running."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField(max_length=32)  # SHA-256 over method, path and body
    token = models.UUIDField(default=uuid.uuid4)  # fences off a request whose claim was taken over
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(default=b"")
    claimed_at = models.DateTimeField(auto_now_add=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_user_key_unique")]

    def __str__(self) -> str:
        return f"{self.key}: {self.status or 'running'}"


class UserStream(Stream):
    """A person's own stream: what becomes of their councils and packs, and their notifications (``accounts.streams``). It has the
    id of its user, and exists from the moment that the user does. Its row is the last that a transaction locks."""

    user = models.OneToOneField(
        User, primary_key=True, db_column="id", on_delete=models.CASCADE, related_name="stream", editable=False
    )
    read_up_to = models.BigIntegerField(default=0, editable=False)  # notifications up to this event have been read

    def __str__(self) -> str:
        return f"stream of {self.pk}"


class UserEvent(Event):
    """One entry of a person's stream, as ``accounts.events`` describes it."""

    pk = models.CompositePrimaryKey("stream_id", "seq")
    stream = models.ForeignKey(UserStream, on_delete=models.CASCADE, related_name="events", db_index=False)

    def __str__(self) -> str:
        return f"{self.seq}: {self.type}"


from accounts import models_audit as _audit  # noqa: E402, F401  # Django looks for models here
from accounts.models_account import AccountExport as AccountExport  # noqa: E402, PLC0414
from accounts.models_account import Departure as Departure  # noqa: E402, PLC0414
from accounts.models_logins import LoginSession as LoginSession  # noqa: E402, PLC0414  # Django finds models in this module
from accounts.models_plans import Plan as Plan  # noqa: E402, PLC0414
from accounts.models_plans import QuotaOverride as QuotaOverride  # noqa: E402, PLC0414
from accounts.models_webhooks import WebhookDelivery as WebhookDelivery  # noqa: E402, PLC0414
from accounts.models_webhooks import WebhookEndpoint as WebhookEndpoint  # noqa: E402, PLC0414
