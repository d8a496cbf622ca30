"""The bundled questions: their answers are computed here where they can be, and what reads and grades them is tried."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from itertools import permutations, product

import pytest

from council.trials import questions as q
from council.trials.questions import Closed, Estimate, Open, Said

BUNDLED = {one.id: one for one in q.load()}
PACK = json.loads((q.HERE / "pack.json").read_text("utf-8"))
CANNOT = "Cannot be told from this"


def rolls() -> float:
    return sum(n * (1 / 6) * (5 / 6) ** (n - 1) for n in range(1, 2000))


def runners() -> str:
    def fits(order: tuple[str, ...]) -> bool:
        at = {name: place for place, name in enumerate(order)}
        return at["Ana"] < at["Ben"] and at["Cam"] == at["Ana"] + 1 and at["Dee"] == 3

    (order,) = (one for one in permutations(("Ana", "Ben", "Cam", "Dee")) if fits(one))
    return order[2]


def tallest() -> str:
    orders = [
        o
        for o in permutations(("Ida", "Juno", "Kit", "Lev"))
        if _before(o, "Ida", "Juno", "Kit") and _before(o, "Lev", "Ida")
    ]
    (second,) = {order[1] for order in orders}
    return second


def _before(order: tuple[str, ...], *names: str) -> bool:
    places = [order.index(name) for name in names]
    return places == sorted(places)


def knaves() -> str:
    """Whoever is a knight says what is so."""
    ((ardo, bela),) = ((a, b) for a, b in product((True, False), repeat=2) if a == (not a and not b))
    return f"Ardo is a {'knight' if ardo else 'knave'}, Bela is a {'knight' if bela else 'knave'}"


def labels() -> str:
    fruit = ("Apples", "Pears", "The mixture")  # the labels stand in this order
    ((_, pears, _),) = (
        one
        for one in permutations(fruit)
        if all(a != b for a, b in zip(one, fruit, strict=True)) and one[2] == "Apples"
    )
    return pears


def doors() -> Fraction:
    wins = [prize != first for prize, first in product(range(3), repeat=2)]
    return Fraction(sum(wins), len(wins))


def birthdays() -> int:
    apart, people = 1.0, 0
    while apart > 0.5:
        apart *= (365 - people) / 365
        people += 1
    return people


def lockers() -> int:
    return sum(sum(n % pupil == 0 for pupil in range(1, 101)) % 2 for n in range(1, 101))


def girls() -> Fraction:
    families = [one for one in product("GB", repeat=2) if "G" in one]
    return Fraction(families.count(("G", "G")), len(families))


def weekday(days: int, today: date = date(2025, 1, 1)) -> str:
    """``today`` is a Wednesday."""
    return (today + timedelta(days)).strftime("%A")


def before_after_tomorrow() -> str:
    """The days from the Monday on that fit."""
    (today,) = (n for n in range(-2, 5) if weekday(n + 2 - 1) == "Saturday")
    return weekday(today)


def sieve() -> int:
    return sum(all(n % d for d in range(2, n)) for n in range(2, 100))


def boys(births: int) -> float:
    """How likely more than 60 % of them are boys."""
    return sum(math.comb(births, k) for k in range(births + 1) if 5 * k > 3 * births) / (1 << births)


def alphabetical() -> str:
    words = "one two three four five six seven eight nine ten twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
    (found,) = (word for word in words.split() if list(word) == sorted(word))
    return found


COMPUTED: dict[str, Callable[[], object]] = {
    "multiples-of-7": lambda: sum(range(7, 101, 7)),
    "up-and-down-20": lambda: 250 * 120 * 80 // 10_000,
    "zeros-of-60": lambda: len(str(math.factorial(60))) - len(str(math.factorial(60)).rstrip("0")),
    "clock-angle": lambda: f"{abs((3 + 15 / 60) * 30 - 15 * 6)} degrees",
    "two-products": lambda: 17 * 23 - 14 * 26,
    "hundred-days": lambda: weekday(100),
    "two-pipes": lambda: "{} hours {} minutes".format(*divmod(int(60 / (Fraction(1, 6) + Fraction(1, 4))), 60)),
    "power-remainder": lambda: pow(2, 50, 7),
    "rectangles": lambda: sum((4 - h) * (5 - w) for h in range(1, 4) for w in range(1, 5)),
    "mean-speed": lambda: f"{2 / (Fraction(1, 60) + Fraction(1, 40))} km/h",
    "handshakes": lambda: math.comb(8, 2),
    "three-or-five": lambda: sum(n % 3 == 0 or n % 5 == 0 for n in range(1, 201)),
    "squares-to-20": lambda: sum(n * n for n in range(1, 21)),
    "leap-february": lambda: (date(2024, 3, 1) - date(2024, 2, 1)).days * 24 * 60,
    "ten-years-interest": lambda: 1000 * 1.05**10,
    "rolls-to-six": rolls,
    "primes-below-100": sieve,
    "both-knaves": knaves,
    "second-tallest": tallest,
    "wrong-labels": labels,
    "four-runners": runners,
    "next-in-row": lambda: 6 * 7,
    "hundred-lockers": lockers,
    "before-after-tomorrow": before_after_tomorrow,
    "three-doors": doors,
    "rare-disease": lambda: f"About {round(100 * 0.009 / (0.009 + 0.99 * 0.09))} %",
    "shared-birthday": birthdays,
    "bat-and-ball": lambda: f"{(1.10 - 1.00) / 2:.2f}",
    "pond-weed": lambda: 48 - 1,
    "five-heads": lambda: Fraction(1, 2),
    "two-children": girls,
    "small-hospital": lambda: "The one with 15" if boys(15) > boys(45) else "The one with 45",
    "mill-own-money": lambda: f"{410_000 - 260_000:,}",
    "mill-years": lambda: f"{2014 - 2011} years",
    "late-book": lambda: f"{min(30 * 0.20, 4.00):.2f}",
    "choir-vote": lambda: "Yes, with more than two thirds of the votes cast" if 29 * 3 > 2 * (46 - 5) else "",
    "hives-left": lambda: 12 - 3,
    "alphabetical-number": alphabetical,
}


@pytest.mark.parametrize("name", COMPUTED)
def test_the_answer_is_what_is_computed(name: str) -> None:
    question, computed = BUNDLED[name], COMPUTED[name]()
    if isinstance(question, Estimate):
        assert isinstance(computed, int | float)
        assert question.right(Said(estimate=float(computed)))
        assert question.answer == pytest.approx(computed, abs=0.01)
    elif isinstance(question, Open):
        assert question.right(Said(text=str(computed)))
    else:
        assert question.answer == str(computed)


def test_every_sum_and_most_puzzles_are_among_those_computed() -> None:
    assert {one.id for one in BUNDLED.values() if one.field == "arithmetic"} <= set(COMPUTED)
    assert {one.id for one in BUNDLED.values() if one.field == "logic"} - set(COMPUTED) == {"florps", "four-cards"}


def test_the_set_is_large_and_varied() -> None:
    assert len(BUNDLED) >= 60
    assert set(Counter(one.kind for one in BUNDLED.values())) == {"closed", "estimate", "open"}
    assert min(Counter(one.field for one in BUNDLED.values()).values()) >= 4
    assert all(len(one.why) > 10 for one in BUNDLED.values())


def test_right_options_stand_at_every_place_equally_often() -> None:
    places: dict[int, Counter[int]] = {}
    for one in BUNDLED.values():
        if isinstance(one, Closed):
            assert 2 < len(one.options) <= 5
            places.setdefault(len(one.options), Counter())[one.options.index(one.answer)] += 1
    assert all(max(found.values()) - min(found.values()) <= 1 for n, found in places.items() if found.total() >= n)


def test_what_cannot_be_told_is_the_answer_of_every_unanswerable_question() -> None:
    assert {one.answer for one in BUNDLED.values() if one.field == "unanswerable"} == {CANNOT}


def test_the_pack_holds_what_questions_need_and_the_answer_stands_in_it() -> None:
    entries = {one["external_id"]: one["content"] for one in PACK["entries"]}
    assert {name for one in BUNDLED.values() for name in one.entries} == set(entries)
    for name in ("ferry-last", "orchard-trees"):
        question = BUNDLED[name]
        assert isinstance(question, Closed)
        old, new = (entries[entry] for entry in question.entries)
        assert question.answer in new
        assert question.answer not in old


def test_options_and_figures_are_graded() -> None:
    closed, figure = BUNDLED["ferry-last"], BUNDLED["ten-years-interest"]
    assert closed.right(Said(option="20:45"))
    assert not closed.right(Said(option="21:10", text="20:45"))
    assert figure.right(Said(estimate=1630))
    assert not figure.right(Said(estimate=1650))
    assert not figure.right(Said(text="1628.89"))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Tansy Red. It has 240 trees.", True),
        ("The variety is **tansy red**, not Grey Hob.", True),
        ("Grey Hob, not Tansy Red.", False),
        ("The Tansy Reddish", False),
        ("I do not know.", False),
    ],
)
def test_prose_is_graded_by_the_first_known_answer_in_it(text: str, right: bool) -> None:
    assert BUNDLED["red-apple"].right(Said(text=text)) is right


def test_a_vote_takes_the_most_frequent_or_the_median() -> None:
    closed, figure, prose = BUNDLED["ferry-last"], BUNDLED["hives-left"], BUNDLED["heaviest-planet"]
    assert q.vote(closed, [Said(option="21:10"), Said(option="20:45"), Said(option="20:45")]) == Said(option="20:45")
    assert q.vote(closed, [Said(option="21:10"), Said(option="20:45")]) == Said(option="21:10")
    assert q.vote(figure, [Said(estimate=9), Said(estimate=900), Said(estimate=8)]) == Said(estimate=9)
    said = [Said(text="Saturn."), Said(text="It is Jupiter"), Said(text="Jupiter, by far")]
    assert q.vote(prose, said) == said[1]
    assert q.vote(closed, []) is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id":', "line 1: is no JSON"),
        ('{"id": "a"}', "line 1: kind: "),
        ('{"id": "A b", "kind": "open", "field": "f", "question": "q", "answer": ["x"], "why": "w"}', "line 1: id: "),
        ('{"id": "a", "kind": "open", "field": "f", "question": "q", "answer": [], "why": "w"}', "line 1: answer: "),
        (
            '{"id": "a", "kind": "open", "field": "f", "question": "q", "answer": ["x"], "why": "w", "x": 1}',
            "line 1: x: ",
        ),
        (
            '{"id": "a", "kind": "closed", "field": "f", "question": "q", "options": ["1", "2"], "answer": "3", "why": "w"}',
            "line 1: answer: is none of the options",
        ),
        ("", "holds no question"),
    ],
)
def test_a_fault_names_its_line_and_field(line: str, fault: str) -> None:
    with pytest.raises(q.QuestionFault) as refused:
        q.parse([line])
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_id_stands_once() -> None:
    with pytest.raises(q.QuestionFault, match="line 2: id: 'ferry-last' stands here twice"):
        q.parse([BUNDLED["ferry-last"].model_dump_json(by_alias=True)] * 2)


def test_a_few_questions_are_drawn_from_all_fields_and_again_the_same() -> None:
    whole = list(BUNDLED.values())
    drawn = q.select(whole, 8, seed=3)
    assert len({one.field for one in drawn}) == 8
    assert drawn == q.select(whole, 8, seed=3) != q.select(whole, 8, seed=4)
    assert q.select(whole, 1000, seed=3) == whole
