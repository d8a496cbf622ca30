from __future__ import annotations

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from pgtrigger import ReadOnly

from knowledge.models import KnowledgePack
from realtime.ids import uuid7


class CouncilTemplate(models.Model):
    """Seats and protocol under a name. Without an owner it is offered to everyone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="council_templates"
    )
    slug = models.SlugField(max_length=80, unique=True)
    title = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    agents = models.JSONField(default=list, encoder=DjangoJSONEncoder)  # [{name, role, instructions, model?, chair?}]
    protocol = models.JSONField(default=dict, blank=True)  # overrides, as ``POST /council-sessions`` takes them
    question = models.TextField(blank=True)  # a suggestion
    options = models.JSONField(default=list, blank=True)
    packs = models.ManyToManyField(KnowledgePack, blank=True, related_name="+")
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["title"]

    def __str__(self) -> str:
        return self.title


class TemplateVersion(models.Model):
    """What a template said at one time. Immutable, so that a session can always show what it was made from, whatever becomes of the
    template; hence no foreign key to it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    template = models.UUIDField()
    slug = models.SlugField(max_length=80)
    title = models.CharField(max_length=120)
    version = models.PositiveIntegerField()
    content = models.JSONField(encoder=DjangoJSONEncoder)  # {description, agents, protocol, question, options, packs}
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [models.UniqueConstraint(fields=["template", "version"], name="template_version_unique")]
        triggers = [ReadOnly(name="template_version_immutable")]

    def __str__(self) -> str:
        return f"{self.slug} v{self.version}"
