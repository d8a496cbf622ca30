"""Synthetic voters: drawn as they say, counted by the product, in line with theory. Few trials; ``manage.py simulate`` has many."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from statistics import fmean

import pytest
from django.core.management import CommandError, call_command

from council.deliberation.independence import error_correlation
from council.deliberation.intervals import wilson
from council.deliberation.simulation import experiments as x
from council.deliberation.simulation import report
from council.deliberation.simulation.elections import by_ballots, by_positions
from council.deliberation.simulation.voters import RIGHT, WRONG, Voters, impressions, opening, perceived
from council.deliberation.types import Rule


@pytest.fixture(scope="module")
def jury() -> list[x.Jury]:
    return x.jury(400, seed=1)


def test_condorcets_jury_theorem_lies_within_every_interval(jury: list[x.Jury]) -> None:
    assert len(jury) == 32
    assert [row for row in jury if not row.simulated.low <= row.theory <= row.simulated.high] == []


def test_the_theorem_itself() -> None:
    assert x.jury_theorem(3, 0.6) == pytest.approx(0.648)  # 3 · .6² · .4 + .6³
    assert x.jury_theorem(1, 0.7) == pytest.approx(0.7)


def test_wilsons_interval() -> None:
    assert wilson(8, 10, 0.95) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_answers_are_as_competent_and_as_correlated_as_asked() -> None:
    rng = random.Random(2)
    drawn = [opening(Voters(2, 0.7, rho=0.3), WRONG, rng, blind=True) for _ in range(4000)]
    wrong = {f"s{i}": [said[i] != RIGHT for said in drawn] for i in range(2)}
    assert fmean(wrong["s0"]) == pytest.approx(0.3, abs=0.03)
    assert error_correlation(wrong) == pytest.approx(0.3, abs=0.06)


def test_the_right_text_looks_better_with_the_probability_asked() -> None:
    rng, voter = random.Random(3), Voters(1, 0.65)
    looks = [impressions(voter, [RIGHT, WRONG[0]], rng) for _ in range(4000)]
    assert fmean(look[RIGHT] > look[WRONG[0]] for look in looks) == pytest.approx(0.65, abs=0.03)


def test_bias_lifts_the_first_text_and_ones_own() -> None:
    order = (RIGHT, WRONG[0], WRONG[1])
    seen = perceived(Voters(1, 0.7, s=2, b=1), dict.fromkeys(order, 0.0), order, own=WRONG[1])
    assert seen == {RIGHT: 1.0, WRONG[0]: 0.5, WRONG[1]: 2.0}


def test_one_seed_gives_one_election() -> None:
    voters = Voters(5, 0.65, s=1, b=1)
    assert [by_ballots(voters, list(Rule), s) for s in range(5)] == [
        by_ballots(voters, list(Rule), s) for s in range(5)
    ]
    assert len({by_positions(Voters(3, 0.6), Rule.MAJORITY, s) for s in range(20)}) == 2


def test_blind_openings_take_away_what_conformity_costs() -> None:
    free, strong = x.blind_openings(600, 1, [0, 0.75])
    assert free.gain == 0
    assert strong.gain > strong.half > 0


def test_an_order_for_each_voter_takes_away_what_position_bias_costs() -> None:
    (strong,) = x.reading_orders(250, 1, [2])
    assert strong.gain > strong.half > 0


def test_withholding_ones_own_text_gains_against_self_preference() -> None:
    (some,) = x.self_votes(700, 1, [1])
    assert some.gain > some.half > 0


def test_the_plot_is_an_image_with_every_figure(jury: list[x.Jury]) -> None:
    root = ET.fromstring(report.plot(jury))  # noqa: S314  # our own text
    assert len(root.findall("{*}circle")) == len(jury)
    assert len(root.findall("{*}polyline")) == 4


def test_text_goes_between_the_marks_and_nowhere_else() -> None:
    page = f"before {report.START} old {report.END} after"
    assert report.insert(page, "new") == f"before {report.START}\n\nnew\n\n{report.END} after"
    with pytest.raises(ValueError, match="has no"):
        report.insert("a page", "new")


def test_the_command_prints_tables_and_writes_the_plot(tmp_path: Path) -> None:
    out = StringIO()
    call_command("simulate", trials=20, svg=tmp_path / "plot.svg", stdout=out)
    shown = out.getvalue()
    assert "| 9 | " in shown
    assert all(f"`{rule}`" in shown for rule in Rule)
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    with pytest.raises(CommandError):
        call_command("simulate", trials=1)


def test_the_docs_hold_the_figures_of_a_long_run() -> None:
    page = (Path(__file__).parents[3] / "docs" / "deliberation.md").read_text()
    assert "20,000 trials a row" in page
    assert re.search(r"32 of\s+32\s+figures of theory", page)
