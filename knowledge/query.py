"""What a query says: words to score, phrases and exclusions to filter by, and BM25's view of the words. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from knowledge.models import LEXEME_DIMENSIONS

MAX_CHARS: Final = 2000
BUDGET: Final = 1000  # passages that the gate may fetch; an absolute number, for fractions lose results on small packs
FILTERED_BUDGET: Final = 10 * BUDGET  # when filters throw away some of what the gate fetched

_EXCLUDED: Final = re.compile(r'(?:(?<=\s)|^)-(?:"[^"]*"|[^\s"-][^\s"]*)')
_PHRASE: Final = re.compile(r'"[^"]*\w[^"]*"')
_WORD: Final = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    text: str  # scored by both halves: everything but exclusions, without quotes
    filter: str  # websearch syntax of quoted phrases and exclusions alone; empty when there are none


@dataclass(frozen=True, slots=True)
class Term:
    """A lexeme of the query as one pack knows it."""

    lexeme: str
    key: int  # of the sparse vectors
    qtf: int  # occurrences in the query
    df: int  # passages of the pack that hold it, at least 1
    typed: str = ""  # what was asked for, when no passage holds that and this lexeme is the nearest


def parse(query: str) -> ParsedQuery:
    """Split a query. Quotes and minus signs work as in web search; everything else is just words, and nothing is an error."""
    query = query.replace("\x00", " ")[:MAX_CHARS].strip()
    excluded = [match for match in _EXCLUDED.findall(query) if _WORD.search(match)]
    rest = _EXCLUDED.sub(" ", query)
    phrases = _PHRASE.findall(rest)
    return ParsedQuery(" ".join(rest.replace('"', " ").split()), " ".join([*phrases, *excluded]))


def idf(df: int, total: int) -> float:
    """BM25's inverse document frequency in the form that is never negative: ln(1 + (N − df + ½) / (df + ½))."""
    return math.log(1 + (total - df + 0.5) / (df + 0.5))


def sparse(terms: Sequence[Term], total: int) -> str:
    """The query as pgvector's sparsevec text: ``qtf · idf`` for each term. Terms whose keys collide add up."""
    weights: dict[int, float] = {}
    for term in terms:
        weights[term.key] = weights.get(term.key, 0.0) + term.qtf * idf(min(term.df, total), total)
    return f"{{{','.join(f'{key}:{weight:.7g}' for key, weight in weights.items())}}}/{LEXEME_DIMENSIONS}"


def gate(terms: Sequence[Term], budget: int = BUDGET) -> list[Term]:
    """The rarest terms whose document frequencies sum to the budget; always at least one. They fetch candidates, all terms score."""
    chosen: list[Term] = []
    spent = 0
    for term in sorted(terms, key=lambda term: (term.df, term.lexeme)):
        spent += term.df
        if chosen and spent > budget:
            break
        chosen.append(term)
    return chosen


def tsquery(lexemes: Sequence[str]) -> str:
    """A tsquery text that matches any of the lexemes, quoted so that none is read as an operator."""
    return " | ".join(quoted(lexeme) for lexeme in lexemes)


def quoted(lexeme: str) -> str:
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
