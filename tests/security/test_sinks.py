"""Where text could become markup without anybody seeing it: our scripts and templates have none of these places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

SCRIPTS = sorted((settings.BASE_DIR / "static/js").glob("*.js"))
TEMPLATES = sorted((settings.BASE_DIR / "templates").rglob("*.html"))
SINKS = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTMLUnsafe|srcdoc|eval|new Function"
    r"|setTimeout\(\s*[\"'`]|javascript:)"
)
# admin_live.js reads a page of this very server, with scripts switched off as a DOMParser does, and moves its parts over.
PARSES = {"admin_live.js"}
UNESCAPED = re.compile(
    r"\|\s*safe\b|autoescape\s+off|safeseq|mark_safe|<script(?![^>]*\bsrc=)[^>]*>|\son[a-z]{3,}=[\"']|javascript:|style=\""
)
# Its own style sheet, a constant file named by its hash; and what is not text: json_script makes its own element.
ALLOWED = {("export/council.html", "|safe")}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.name)
def test_scripts_set_text_as_text(script: Path) -> None:
    code = re.sub(r"^\s*(//|\*|/\*).*$", "", script.read_text(), flags=re.MULTILINE)
    assert SINKS.findall(code) == []
    assert ("DOMParser" in code) == (script.name in PARSES)


def test_templates_escape_everything() -> None:
    found = {
        (str(template.relative_to(settings.BASE_DIR / "templates")), place)
        for template in TEMPLATES
        for place in UNESCAPED.findall(re.sub(r"{#.*?#}", "", template.read_text()))
    }
    assert {
        (name, place) for name, place in found if (name, place) not in ALLOWED and not name.startswith("api/")
    } == set()
