"""``{{ text|prose }}``: Markdown through the allowlist of ``knowledge.prose``. ``{{ text|prose:0 }}``: no headings, no links."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from knowledge.prose import rendered

register = template.Library()


@register.filter
def prose(text: str, headings: int = 2) -> SafeString:
    return rendered(text, headings=headings, links=bool(headings))
