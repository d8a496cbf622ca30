"""Council templates: seats and protocol under a name. The one place that writes them, for the admin, the demo and later the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.models import User
from council import validation
from council.defaults import Agent, with_chair
from council.models import CouncilTemplate, TemplateVersion
from knowledge.models import KnowledgePack


def save_template(
    owner: User | None,
    *,
    slug: str,
    agents: Sequence[Agent],
    packs: Sequence[KnowledgePack] | None = None,
    protocol: dict[str, Any] | None = None,
    options: Sequence[str] = (),
    **texts: str,
) -> CouncilTemplate:
    """Create the template, or change it and count its version up. Raises ``InvalidInput`` with pointers when it is not sound."""
    seats = with_chair(list(agents))
    validation.check_agents(seats)
    validation.check_options(options)
    validation.resolve_protocol(protocol or {}, seats, options)
    values = {"owner": owner, "agents": list(agents), "protocol": protocol or {}, "options": list(options), **texts}
    with transaction.atomic():
        template, created = CouncilTemplate.objects.select_for_update().get_or_create(slug=slug, defaults=values)
        if not created:
            for name, value in values.items():
                setattr(template, name, value)
            template.version += 1
            template.save()
        if packs is not None:
            template.packs.set(packs)
        keep_version(template)
        audit.record("template.saved", template, version=template.version)
    return template


def delete_template(template: CouncilTemplate) -> None:
    """Sessions that were made from it stay, and so do its kept versions."""
    with transaction.atomic():
        audit.record("template.deleted", template)
        template.delete()


def keep_version(template: CouncilTemplate) -> TemplateVersion:
    """The immutable copy of what the template says now, under its version."""
    content = {
        "description": template.description,
        "agents": template.agents,
        "protocol": template.protocol,
        "question": template.question,
        "options": template.options,
        "packs": [str(pack) for pack in template.packs.order_by("pk").values_list("pk", flat=True)],
    }
    values = {"slug": template.slug, "title": template.title, "content": content}
    kept, _ = TemplateVersion.objects.get_or_create(template=template.pk, version=template.version, defaults=values)
    return kept
