"""The bundled demo content parses and is fit to be argued about. Pure: no database, no models."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import pytest

from council.deliberation.types import Rule
from council.demo.loader import DemoTemplate, TemplateContentError, load_templates, parse_template
from knowledge.demo.loader import DemoContentError, DemoEntry, DemoPack, load_packs, parse_entry

PACKS = load_packs()
TEMPLATES = load_templates()
ENTRIES = [entry for pack in PACKS for entry in pack.entries]
KINDS = {"study", "survey", "opinion", "policy", "incident", "cost"}
INVENTED = {"harbour-pine": "Harbour & Pine", "fernhaven": "Fernhaven"}  # tag -> the name that its texts must carry

VALID = '---\nexternal_id: "a"\ntitle: "A"\ntags: ["x", "y"]\nmetadata: {"year": 2024}\nsource_url: null\n---\nText.\n'

each_pack = pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.slug)
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.external_id)
each_template = pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.slug)


def words(entry: DemoEntry) -> int:
    return len(entry.content.split())


def sentences(entry: DemoEntry) -> list[str]:
    return re.split(r"(?<=[.!?])\s+|\n+", entry.content)


# --- packs ----------------------------------------------------------------------------------------------------------


def test_two_packs_are_bundled() -> None:
    assert [pack.slug for pack in PACKS] == ["four-day-week", "free-transit"]


@each_pack
def test_every_markdown_file_of_a_pack_is_loaded_under_its_own_name(pack: DemoPack) -> None:
    folder = files("knowledge.demo").joinpath(pack.slug)
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".md"))
    assert names == [f"{entry.external_id}.md" for entry in pack.entries]


@each_pack
def test_pack_has_22_to_26_entries_of_which_3_or_4_are_long(pack: DemoPack) -> None:
    assert 22 <= len(pack.entries) <= 26
    assert 3 <= sum(words(entry) >= 500 for entry in pack.entries) <= 4


@each_pack
def test_pack_argues_both_sides(pack: DemoPack) -> None:
    stances = Counter(entry.metadata["stance"] for entry in pack.entries)
    assert set(stances) == {"for", "against", "mixed"}
    assert min(stances.values()) >= 6


@each_pack
def test_pack_says_that_it_is_partly_fictional(pack: DemoPack) -> None:
    assert "Illustrative and partly fictional" in pack.description


@each_pack
def test_pack_uses_every_kind_of_evidence(pack: DemoPack) -> None:
    assert {entry.metadata["kind"] for entry in pack.entries} == KINDS


def test_titles_and_texts_are_unique() -> None:
    assert len({entry.title for entry in ENTRIES}) == len({entry.content for entry in ENTRIES}) == len(ENTRIES)


# --- entries --------------------------------------------------------------------------------------------------------


@each_entry
def test_entry_has_a_length_that_the_index_is_shown_with(entry: DemoEntry) -> None:
    assert 90 <= words(entry) <= 260 or 500 <= words(entry) <= 700
    assert 10 <= len(entry.title) <= 80


@each_entry
def test_entry_is_tagged_and_described(entry: DemoEntry) -> None:
    assert 2 <= len(entry.tags) <= 4
    assert set(entry.metadata) == {"kind", "year", "stance"}
    assert isinstance(entry.metadata["year"], int)


@each_entry
def test_entry_offers_short_sentences_with_figures_to_quote(entry: DemoEntry) -> None:
    quotable = [text for text in sentences(entry) if re.search(r"\d", text) and 5 <= len(text.split()) <= 40]
    assert len(quotable) >= 2


@each_entry
def test_invented_material_is_tagged_named_and_linked_to_a_reserved_domain(entry: DemoEntry) -> None:
    invented = [name for tag, name in INVENTED.items() if tag in entry.tags]
    link = entry.source_url or ""
    assert link.startswith("https://example.org/") == bool(invented)
    assert all(name in entry.title + entry.content for name in invented)


@each_entry
def test_public_cases_do_not_mention_invented_organisations(entry: DemoEntry) -> None:
    mentioned = {tag for tag, name in INVENTED.items() if name in entry.content}
    assert mentioned <= set(entry.tags)


@each_entry
def test_slug_is_stable_and_plain(entry: DemoEntry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.external_id)


# --- parsing --------------------------------------------------------------------------------------------------------


def test_a_valid_entry_is_read() -> None:
    entry = parse_entry("a.md", VALID)
    assert entry == DemoEntry("a", "A", ("x", "y"), {"year": 2024}, None, "Text.")


def test_a_rule_in_the_text_is_not_taken_for_the_end_of_the_header() -> None:
    assert parse_entry("a.md", VALID + "\n---\nMore.\n").content == "Text.\n\n---\nMore."


@pytest.mark.parametrize(
    "text",
    [
        "no header at all",
        '---\ntitle: "A"\n',
        VALID.replace('"A"', "A"),
        VALID.replace('title: "A"\n', ""),
        VALID.replace("title:", "heading:"),
    ],
    ids=["no-header", "no-end", "not-json", "missing-key", "unknown-key"],
)
def test_a_malformed_entry_names_its_file(text: str) -> None:
    with pytest.raises(DemoContentError, match=r"^broken\.md: "):
        parse_entry("broken.md", text)


# --- templates ------------------------------------------------------------------------------------------------------


def test_one_template_is_closed_and_one_is_open() -> None:
    assert sorted(len(template.options) for template in TEMPLATES) == [0, 3]


@each_template
def test_template_seats_three_agents_and_one_chair(template: DemoTemplate) -> None:
    assert [agent.chair for agent in template.agents] == [False, False, False, True]
    assert len({agent.name for agent in template.agents}) == 4


@each_template
def test_template_asks_the_question_of_its_pack(template: DemoTemplate) -> None:
    pack = next(pack for pack in PACKS if pack.slug == template.pack)
    assert (template.question, template.options) == (pack.question, pack.options)


@each_template
def test_protocol_names_a_preset_and_a_known_rule(template: DemoTemplate) -> None:
    assert template.protocol["preset"] in {"council", "debate"}
    assert Rule(template.protocol["rule"])


@each_template
def test_each_seat_is_told_to_look_for_something_of_its_own(template: DemoTemplate) -> None:
    focus = [set(re.findall(r"[a-z-]{6,}", agent.instructions.lower())) for agent in template.agents if not agent.chair]
    assert all(
        len(one & other) <= 0.2 * min(len(one), len(other)) for one in focus for other in focus if one is not other
    )


@each_template
def test_instructions_are_one_to_three_sentences(template: DemoTemplate) -> None:
    assert all(1 <= len(re.findall(r"[.!?](?:\s|$)", agent.instructions)) <= 3 for agent in template.agents)


@pytest.mark.parametrize("change", [{"agents": [{"name": "A"}]}, {"colour": "red"}], ids=["agent", "unknown-key"])
def test_a_malformed_template_is_named(change: dict[str, object]) -> None:
    values = {"slug": "s", "title": "", "description": "", "pack": "", "question": "", "options": [], "protocol": {}}
    with pytest.raises(TemplateContentError, match="template s: "):
        parse_template({**values, "agents": [], **change})
