"""Hit testing: a search with everything that led to its order."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import mark_safe

from knowledge.admin.pages import Context, Page
from knowledge.models import KnowledgePack
from knowledge.ranking import Mode
from knowledge.search import Hit, SearchResult, search
from realtime.errors import QuorumError

QUERY_MAX = 1000
HITS = 20


def hits(request: HttpRequest, pack: KnowledgePack) -> Context:
    """A search as the API makes it, with everything that led to its order. Not logged: nobody was looking for anything."""
    text, mode = request.GET.get("q", "")[:QUERY_MAX], chosen_mode(request)
    shown: Context = {"query": text, "mode": mode, "modes": list(Mode)}
    if not text.strip():
        return shown
    try:
        result = search([pack], text, mode=mode, limit=HITS, explain=True)
    except QuorumError as error:
        return {**shown, "problem": error.detail}
    return {
        **shown,
        "result": result,
        "leg": _leg(result),
        "cached": (result.explain or {}).get("cache") == "hit",
        "timings": (result.explain or {}).get("timings_ms", {}).items(),
        "hits": [_hit(n, hit) for n, hit in enumerate(result.hits, 1)],
    }


def _leg(result: SearchResult) -> Context:
    legs = (result.explain or {}).get("packs") or [{}]
    return {"candidates": (result.explain or {}).get("candidates"), **legs[0]}


def _hit(place: int, hit: Hit) -> Context:
    explained = hit.explain or {}
    return {
        "place": place,
        "hit": hit,
        "link": reverse("admin:knowledge_entry_change", args=[hit.entry_id]),
        "highlight": mark_safe(hit.highlight),  # noqa: S308  # knowledge.highlight escapes it and adds <mark>
        "ranks": explained.get("ranks", {}),
        "terms": explained.get("matched_terms", []),
    }


def chosen_mode(request: HttpRequest) -> str:
    mode = request.GET.get("mode", "")
    return mode if mode in list(Mode) else Mode.HYBRID.value


PAGE = Page("hits", "Hit testing", hits, permission="knowledge.view_entry")
