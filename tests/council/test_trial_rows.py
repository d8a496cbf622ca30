"""What rows come to: means over questions, flips by cause, votes at the price of a council; and the file that keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from council.trials import questions, sampling
from council.trials.findings import find
from council.trials.questions import Said
from council.trials.rows import Flipped, Results, Row, RowsDamaged, Sample

FERRY = next(one for one in questions.load() if one.id == "ferry-last")
RIGHT, WRONG = Said(option="20:45"), Said(option="21:10")


def row(protocol: str, score: float, question: str = "ferry-last", repeat: int = 1, **more: Any) -> Row:
    given = {"question": question, "protocol": protocol, "repeat": repeat, "score": score, "first": score == 1}
    about = {"field": "outdated", "kind": "closed", "status": "decided"}
    return Row.model_validate({**given, **about, **more})


def test_repeats_of_a_question_are_one_question() -> None:
    rows = [row("council", 1), row("council", 0, repeat=2), row("council", 1, question="other")]
    (found,) = find(rows, [FERRY], ["council"], seed=1).protocols
    assert found.questions == 2
    assert found.accuracy.right == 0.75


def test_failures_are_wrong_and_shown_apart() -> None:
    rows = [row("council", 1), row("council", 0, question="other", status="failed", reason="budget")]
    (found,) = find(rows, [FERRY], ["council"], seed=1).protocols
    assert found.accuracy.right == 0.5
    assert found.statuses == {"decided": 1, "failed": 1}


def test_the_price_is_unknown_as_soon_as_one_is() -> None:
    known = [row("council", 1, usd=0.25, calls=4), row("council", 1, question="b", usd=0.75, calls=4)]
    assert find(known, [FERRY], ["council"], seed=1).protocols[0].spending.usd == 0.5
    assert (
        find([*known, row("council", 1, question="c", calls=4)], [FERRY], ["council"], seed=1).protocols[0].spending.usd
        is None
    )


def test_single_answers_cost_what_one_of_them_costs() -> None:
    (found,) = find([row("single", 1, answers=4, prompt_tokens=400, calls=8)], [FERRY], ["single"], seed=1).protocols
    assert (found.spending.prompt_tokens, found.spending.calls, found.spending.tokens_total) == (100, 2, 400)


def test_flips_are_told_by_their_cause() -> None:
    made = (
        Flipped(before=False, after=True, cause="evidence"),
        Flipped(before=True, after=False, cause="none"),
        Flipped(before=False, after=False),
    )
    (found,) = find([row("debate", 1, flips=made, opening=0.0)], [FERRY], ["debate"], seed=1).protocols
    assert (dict(found.flips.wrong_to_right), dict(found.flips.right_to_wrong), found.flips.other) == (
        {"evidence": 1},
        {"none": 1},
        1,
    )
    assert found.helped is not None
    assert found.helped.gain.mean == 1


def test_a_council_meets_the_vote_over_as_many_answers_as_it_cost() -> None:
    samples = tuple(Sample(said=said, tokens=100) for said in (WRONG, RIGHT, RIGHT))
    rows = [row("self-consistency", 1, samples=samples), row("poll", 1, prompt_tokens=299)]
    found = find(rows, [FERRY], ["self-consistency", "poll"], seed=1)
    assert [one.by.mean for one in found.differences] == [0]
    (cut,) = found.at_equal_spend
    assert (cut.b, cut.by.mean) == ("poll", 1)  # with 299 tokens: one answer each way, and the wrong one came first


def test_as_many_answers_as_fit_and_one_in_any_case() -> None:
    samples = [Sample(tokens=100), Sample(tokens=50), Sample(tokens=100)]
    assert [len(sampling.within(samples, tokens)) for tokens in (10, 100, 150, 249, 250)] == [1, 1, 2, 2, 3]


def test_the_confidence_of_a_vote_is_the_share_that_agrees() -> None:
    samples = [Sample(said=RIGHT), Sample(said=RIGHT), Sample(said=WRONG), Sample(reason="timeout")]
    counted = sampling.count(FERRY, samples)
    assert counted.said == RIGHT
    assert counted.confidence == pytest.approx(2 / 3)
    assert sampling.count(FERRY, samples[3:]) == (None, None)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    kept = row("poll", 1, stated=((0.8, True),), usd=0.125, samples=(Sample(said=RIGHT, tokens=3),))
    Results(path).add(kept)
    Results(path).add(row("poll", 0, repeat=2))
    assert Results(path).rows[0] == kept
    assert [key.repeat for key in sorted(Results(path).done)] == [1, 2]


def test_a_torn_line_is_taken_away_and_a_damaged_one_told(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path).add(row("poll", 1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert len(Results(path).rows) == 1
    assert path.read_bytes() == whole
    path.write_bytes(b"{}\n" + whole)
    with pytest.raises(RowsDamaged, match=r"results\.jsonl, line 1: is no result of a trial"):
        Results(path)
