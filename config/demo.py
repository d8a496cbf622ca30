"""The demo content: two packs on questions that people really argue about, and two councils to ask."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from accounts.models import User
from council.defaults import Agent
from council.demo.loader import DemoTemplate, load_templates
from council.models import CouncilTemplate
from council.templates import save_template
from knowledge.demo.loader import DemoPack, load_packs
from knowledge.models import KnowledgePack
from knowledge.services import add_entries, create_pack


def install_demo(owner: User) -> None:
    """Install what is missing. What somebody has changed since is left as it is."""
    packs = {demo.slug: _install_pack(owner, demo) for demo in load_packs()}
    for template in load_templates():
        _install_template(template, packs[template.pack])


def _install_pack(owner: User, demo: DemoPack) -> KnowledgePack:
    found = KnowledgePack.objects.filter(owner=owner, name=demo.title).first()
    if found is not None:
        return found
    pack = create_pack(
        owner, name=demo.title, description=demo.description, tags=list(demo.tags), language=demo.language
    )
    items = [
        {
            "external_id": entry.external_id,
            "title": entry.title,
            "content": entry.content,
            "tags": list(entry.tags),
            "metadata": dict(entry.metadata),
            "source_url": entry.source_url,
        }
        for entry in demo.entries
    ]
    add_entries(pack, owner, items)
    return pack


def _install_template(demo: DemoTemplate, pack: KnowledgePack) -> None:
    if CouncilTemplate.objects.filter(slug=demo.slug).exists():
        return
    save_template(
        None,
        slug=demo.slug,
        title=demo.title,
        description=demo.description,
        question=demo.question,
        options=list(demo.options),
        protocol=dict(demo.protocol),
        agents=[cast("Agent", asdict(agent)) for agent in demo.agents],
        packs=[pack],
    )
