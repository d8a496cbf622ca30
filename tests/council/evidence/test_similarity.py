"""Citations that words leave open, compared by meaning; the figures stand in docs/evidence.md."""

from __future__ import annotations

import json

import pytest

from accounts.models import User
from council import evidence, similarity
from council.deliberation import citations
from council.deliberation.types import Evidence
from council.models import Citation, Decision
from council.recount import recount
from knowledge import embeddings, indexing
from knowledge import services as knowledge
from knowledge.errors import EmbeddingError
from knowledge.models import EmbeddingSpace
from tests.council.evidence.pairs import DENIED, NOT_SAID, PASSAGES, RETOLD, SAID
from tests.support.councils import Convene, conclude
from tests.support.fake_openai import FakeModelServer

SETS = {"said": SAID, "retold": RETOLD, "not_said": NOT_SAID, "denied": DENIED}


def shown(passage: str) -> Evidence:
    return Evidence(
        n=1, pack="P", entry="e", revision="r", passage=None, title="T", text=passage, start=0, end=len(passage)
    )


def checked(passage: str, statement: str) -> tuple[citations.CitationCheck, citations.CitationCheck]:
    """By words, and then by meaning as well."""
    text = f"{statement.rstrip('.')} [1]."
    args = (text, [shown(passage)], {"r": passage}.get)
    doubts = citations.doubts(*args)
    scores = similarity._compared(embeddings.built_in(), doubts) if doubts else {}
    return citations.check(*args)[0], citations.check(*args, scores=scores)[0]


def test_the_threshold_on_the_original_set() -> None:
    """The table of docs/evidence.md. Scores move by some hundredths with what is embedded beside a text (the model is quantised as
    it runs), so of what meaning adds only this is fixed: some that is true, and nothing that is not."""
    by_words, added = {}, {}
    for name, pairs in SETS.items():
        both = [checked(PASSAGES[passage], statement) for passage, statement in pairs]
        by_words[name] = (sum(words.status == "verified" for words, _ in both), len(pairs))
        added[name] = sum(words.status != meaning.status for words, meaning in both)
    assert by_words == {"said": (0, 25), "retold": (12, 24), "not_said": (1, 32), "denied": (12, 16)}
    assert added["said"] + added["retold"] >= 3
    assert added["not_said"] == added["denied"] == 0


def test_meaning_cannot_excuse_a_figure_or_a_quotation_that_is_not_there() -> None:
    passage = "Fewer patients fail to turn up since then. Reminders by text message go out the day before."
    for statement in (
        "Reminders by text message go out 3 days before",
        "It says “fewer patients fail to come to us any more”",
    ):
        text = f"{statement} [1]."
        assert citations.doubts(text, [shown(passage)], {"r": passage}.get) == ()
        at = text.index("[1]")
        checks = citations.check(text, [shown(passage)], {"r": passage}.get, scores={(at, 1): 0.99})
        assert [(one.status, one.similarity) for one in checks] == [("unsupported", None)]


def test_a_score_is_kept_and_checking_again_needs_no_model() -> None:
    passage = PASSAGES["trees"]
    words, meaning = checked(passage, SAID[-1][1])
    assert (words.status, words.similarity, meaning.status) == ("unsupported", None, "verified")
    text = f"{SAID[-1][1].rstrip('.')} [1]."
    again = citations.check(text, [shown(passage)], {"r": passage}.get, scores=citations.similarities([meaning]))
    assert again == (meaning,)


def _council(user: User, convene: Convene, fake: FakeModelServer) -> Decision:
    pack = knowledge.create_pack(user, name="Trees")
    knowledge.add_entries(pack, user, [{"title": "Street trees", "content": PASSAGES["trees"]}])
    while indexing.index_once(pack.pk):
        pass
    knowledge.publish(pack.pk, None, "spring")
    answer = f"{SAID[-1][1].rstrip('.')} [1]."
    fake.set_rules({"contains": "Write the decision", "reply": json.dumps({"answer": answer})})
    session = conclude(
        user, convene(question="Who should water street trees?", packs=[pack.pk], pins={pack.pk: "spring"})
    )
    return Decision.objects.get(run__session=session)


@pytest.mark.django_db(transaction=True)
def test_a_decision_names_the_snapshot_and_keeps_the_score(
    user: User, convene: Convene, fake: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = _council(user, convene, fake)
    citation = Citation.objects.get(decision=decision)
    assert (citation.status, citation.snapshot_label) == ("verified", "spring")
    assert citation.similarity is not None
    assert citation.similarity >= citations.SIMILAR
    assert citation.reason.startswith("means nearly the same")

    def away(space: EmbeddingSpace) -> embeddings.Embedder:
        raise EmbeddingError("no model may be asked")

    monkeypatch.setattr(similarity, "embedder_in", away)
    assert recount(decision.run.session)["agrees"]


@pytest.mark.django_db(transaction=True)
def test_without_an_answer_of_the_model_words_decide(
    user: User, convene: Convene, fake: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(space: EmbeddingSpace) -> embeddings.Embedder:
        raise EmbeddingError("the embedding server is away")

    monkeypatch.setattr(similarity, "embedder_in", away)
    citation = Citation.objects.get(decision=_council(user, convene, fake))
    assert (citation.status, citation.similarity) == ("unsupported", None)


@pytest.mark.django_db
def test_a_revision_that_is_gone_has_no_score() -> None:
    doubt = citations.Doubt(0, 1, "01890000-0000-7000-8000-000000000000", "It rains.", ("It rains often.",))
    assert similarity.scores([doubt]) == {}
    assert evidence.checked("Nothing is cited here.", [], "") == ()
