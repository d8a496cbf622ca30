"""Replies as models really write them, and the live view of them while they are written."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from council.deliberation import parsing, prompts
from council.deliberation.livetext import LiveText, live_text
from council.deliberation.parsing import ReplyError
from council.deliberation.types import Answer, Ballot, Prompt, Stage, TurnContext, TurnKind

GOOD = {
    "answer": "It pays [1].",
    "claims": [{"text": "It pays.", "evidence": [1]}],
    "confidence": 0.8,
    "would_change": "Losses.",
}
LABELS = {"A": "o2", "B": "o1", "C": "o3"}


def context(**changes: object) -> TurnContext:
    values: dict[str, object] = {"kind": TurnKind.ANSWER, "stage": Stage.OPENING, "question": "Adopt it?"} | changes
    return TurnContext.model_validate(values)


def code_of(error: pytest.ExceptionInfo[ReplyError]) -> str:
    return error.value.code


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "```json\n{}\n```",
        "Here is my reply:\n{}\nI hope it helps.",
        "<think>maybe {{not}} this</think>\n{}",
        "\ufeff  {}  ",
        "The set {{x}} aside: {}",
    ],
)
def test_an_object_is_found_in_its_usual_wrappings(wrapped: str) -> None:
    reply = wrapped.replace("{}", json.dumps(GOOD)).replace("{{", "{").replace("}}", "}")
    assert parsing.answer(reply, context()).answer == "It pays [1]."


@pytest.mark.parametrize("other", ['{"answer": "Both.", "confidence": 1}', '{"a": ' * 30 + "1" + "}" * 30])
@pytest.mark.parametrize("wrapped", ["The entry says {0}.\n{1}", "{1}\nThe entry says {0}."])
def test_a_reply_that_quotes_an_object_beside_its_own_is_asked_again(wrapped: str, other: str) -> None:
    reply = wrapped.replace("{0}", other).replace("{1}", json.dumps(GOOD))
    with pytest.raises(ReplyError) as raised:
        parsing.answer(reply, context())
    assert code_of(raised) == "not_json"


def test_the_same_object_twice_is_one_reply() -> None:
    reply = f"{json.dumps(GOOD)}\n```json\n{json.dumps(GOOD)}\n```\n{{}}"
    assert parsing.answer(reply, context()).answer == "It pays [1]."


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("<think>hm</think>", "empty"),
        ("It pays.", "not_json"),
        ('{"answer": "It pays.",}', "not_json"),
        ("{'answer': 'It pays.'}", "not_json"),
        ('{"answer": "It pa', "not_json"),
        ("[1, 2]", "not_json"),
        ('{"answer": "x", "confidence": NaN}', "not_json"),
        ('{"a":' * 100_000, "not_json"),
        ('{"confidence": ' + "9" * 5000 + "}", "not_json"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        (json.dumps(GOOD | {"answer": "I cannot assist with this request."}), "refusal"),
        (json.dumps(GOOD | {"answer": " \u200b"}), "empty"),
        (json.dumps({"option": "x"}), "wrong_schema"),
        (json.dumps(GOOD | {"confidence": "high"}), "wrong_schema"),
        (json.dumps(GOOD | {"confidence": True}), "wrong_schema"),
        (json.dumps(GOOD | {"confidence": 1.5}), "wrong_schema"),
        (json.dumps(GOOD | {"confidence": -1}), "wrong_schema"),
        (json.dumps(GOOD | {"claims": "none"}), "wrong_schema"),
    ],
)
def test_every_bad_answer_has_its_code(reply: str, code: str) -> None:
    with pytest.raises(ReplyError) as error:
        parsing.answer(reply, context())
    assert code_of(error) == code


@given(st.text(max_size=80))
@example('{"answer": "\\ud800\\u0000x", "confidence": 1}')
def test_any_text_is_an_answer_or_a_reply_error(reply: str) -> None:
    try:
        text = parsing.answer(reply, context()).answer
    except ReplyError as error:
        text = error.detail
    text.encode()  # PostgreSQL takes it: no lone surrogates ...
    assert "\x00" not in text  # ... and no NUL


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "meant"), [(0.8, 0.8), (1, 1.0), (0, 0.0), (80, 0.8), ("80%", 0.8), ("0.8", 0.8)])
def test_confidence_may_be_a_share_or_a_percentage(written: object, meant: float) -> None:
    assert parsing.answer(json.dumps(GOOD | {"confidence": written}), context()).confidence == pytest.approx(meant)


def test_marks_and_evidence_numbers_stay_as_written() -> None:
    claims = [{"text": "It pays.", "evidence": ["[9]", 2]}, {"text": " "}]
    found = parsing.answer(json.dumps(GOOD | {"answer": "Yes [9].", "claims": claims}), context())
    assert (found.answer, [claim.evidence for claim in found.claims]) == ("Yes [9].", [(9, 2)])


@pytest.mark.parametrize("written", ["Adopt now", " adopt NOW.", '"Adopt now"'])
def test_an_option_is_known_by_its_words(written: str) -> None:
    reply = json.dumps(GOOD | {"option": written})
    assert parsing.answer(reply, context(options=("Adopt now", "Wait"))).option == "Adopt now"


@pytest.mark.parametrize(
    ("option", "code"), [("Maybe", "unknown_candidate"), ("", "wrong_schema"), (None, "wrong_schema")]
)
def test_an_option_that_was_not_offered_is_an_error(option: str | None, code: str) -> None:
    with pytest.raises(ReplyError) as error:
        parsing.answer(json.dumps(GOOD | {"option": option}), context(options=("Adopt now", "Wait")))
    assert code_of(error) == code


def debate(**changes: object) -> TurnContext:
    return context(stage=Stage.DEBATE, **changes)


CLOSED = {"options": ("Yes", "No"), "own": Answer(answer="Old.", option="No")}


def test_a_changed_option_needs_a_cause() -> None:
    with pytest.raises(ReplyError) as error:
        parsing.answer(json.dumps(GOOD | {"option": "Yes", "changed": False, "because": " "}), debate(**CLOSED))
    assert code_of(error) == "wrong_schema"


def test_a_changed_option_keeps_its_cause_whatever_was_declared() -> None:
    reply = json.dumps(GOOD | {"option": "Yes", "changed": False, "because": "Evidence [2]."})
    assert parsing.answer(reply, debate(**CLOSED)).changed_because == "Evidence [2]."


def test_a_kept_option_has_no_cause_even_if_one_was_written() -> None:
    reply = json.dumps(GOOD | {"option": "No", "changed": True, "because": "Pressure."})
    found = parsing.answer(reply, debate(**CLOSED))
    assert (found.changed_because, found.answer) == (None, "It pays [1].")


def test_a_kept_position_on_an_open_question_stays_the_same_text() -> None:
    found = parsing.answer(json.dumps(GOOD | {"changed": False, "because": ""}), debate(own=Answer(answer="Old [3].")))
    assert (found.answer, found.changed_because) == ("Old [3].", None)


def test_a_changed_position_on_an_open_question_is_the_new_text() -> None:
    found = parsing.answer(
        json.dumps(GOOD | {"changed": True, "because": "Evidence [1]."}), debate(own=Answer(answer="Old."))
    )
    assert (found.answer, found.changed_because) == ("It pays [1].", "Evidence [1].")


# --- ballots ----------------------------------------------------------------------------------------------------------


def test_letters_become_candidate_ids() -> None:
    reply = json.dumps(
        {"ranking": ["B", "candidate a", "C."], "scores": {"A": 5, "B": 9.0, "C": None}, "abstain": False}
    )
    assert parsing.ballot(reply, LABELS) == Ballot(ranking=("o1", "o2", "o3"), scores={"o2": 5, "o1": 9})


def test_an_abstention_ranks_nobody() -> None:
    assert parsing.ballot('{"ranking": ["A"], "scores": {"A": 3}, "abstain": true}', LABELS) == Ballot(abstain=True)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ('{"ranking": ["D"]}', "unknown_candidate"),
        ('{"ranking": ["A"], "scores": {"Z": 3}}', "unknown_candidate"),
        ('{"ranking": ["A", "A"]}', "wrong_schema"),
        ('{"ranking": ["A"], "scores": {"A": 11}}', "wrong_schema"),
        ('{"ranking": ["A"], "scores": {"A": 2.5}}', "wrong_schema"),
        ('{"ranking": [], "abstain": false}', "empty"),
        ('{"ranking": "A"}', "wrong_schema"),
    ],
)
def test_every_bad_ballot_has_its_code(reply: str, code: str) -> None:
    with pytest.raises(ReplyError) as error:
        parsing.ballot(reply, LABELS)
    assert code_of(error) == code


@given(st.permutations(list(LABELS)))
def test_every_order_of_letters_is_that_order_of_candidates(order: list[str]) -> None:
    assert parsing.ballot(json.dumps({"ranking": order}), LABELS).ranking == tuple(LABELS[label] for label in order)


# --- short replies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        '{"choice": "B"}',
        '{\n\n"choice"\n\n: "B"\n\n}',
        '"B"',
        "B",
        "B.",
        "Candidate B",
        '{"choice": "B"    \n',
        '```json\n{"choice": "B"}\n```',
    ],
)
def test_a_choice_is_read_from_every_common_form(reply: str) -> None:
    assert parsing.choice(reply, ["A", "B"]) == "B"


def test_the_longer_of_two_nested_labels_is_meant() -> None:
    assert parsing.choice("very sure", ["sure", "very sure"]) == "very sure"


@pytest.mark.parametrize("reply", ['{"choice": "D"}', "A or B", "no idea", '{"choice": "D", "note": "A"}'])
def test_a_choice_that_was_not_offered_is_an_error(reply: str) -> None:
    with pytest.raises(ReplyError) as error:
        parsing.choice(reply, ["A", "B"], "unknown_evidence")
    assert code_of(error) == "unknown_evidence"


def test_scores_must_be_complete_whole_and_in_range() -> None:
    assert parsing.scores('{"A": 1, "B": 10, "C": 0}', LABELS) == {"o2": 1, "o1": 10, "o3": 0}
    for reply in ('{"A": 1}', '{"A": 1, "B": 11, "C": 0}', '{"A": true, "B": 1, "C": 0}'):
        with pytest.raises(ReplyError, match="wrong_schema"):
            parsing.scores(reply, LABELS)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("It fell. It rose. And the", ("It fell.", "It rose.")),
        ("It fell and", ("It fell and…",)),
        ("Answer: It fell.\n\nIt fell.", ("It fell.",)),
        ("<<ab12cd34>>\nIt fell.\n<<ab12cd34 end>>", ("It fell.",)),
        ("1. It **fell**.\n2. It rose.", ("It fell.", "It rose.")),
        ("“It fell.”", ("It fell.",)),
    ],
)
def test_prose_is_cut_at_its_last_whole_sentence_and_tidied(reply: str, expected: tuple[str, ...]) -> None:
    assert parsing.prose(reply, "ab12cd34") == expected


@pytest.mark.parametrize(
    ("reply", "code"), [("  ", "empty"), ("<<ab12cd34>>", "empty"), ("I'm sorry, I can't.", "refusal")]
)
def test_prose_without_substance_is_an_error(reply: str, code: str) -> None:
    with pytest.raises(ReplyError) as error:
        parsing.prose(reply, "ab12cd34")
    assert code_of(error) == code


# --- live text --------------------------------------------------------------------------------------------------------

TRICKY = 'Say "hi" \\ / \n\t é 你 😀 {"answer": "no"} [1]'


def pieces(text: str, field: str | None, cuts: list[int]) -> str:
    live = LiveText(field)
    ends = [*sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return "".join(live.feed(text[start:end]) for start, end in zip([0, *ends], ends, strict=False))


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("prefix", ["", "```json\n", 'Prose with "quotes" and } first: '])
def test_live_text_is_the_field_at_every_split_point(ascii_only: bool, prefix: str) -> None:
    rest = {"option": "answer", "claims": [{"answer": "inner"}], "n": 1}
    text = prefix + json.dumps({"before": {"answer": "deep"}, "answer": TRICKY} | rest, ensure_ascii=ascii_only)
    for cut in range(len(text) + 1):
        assert pieces(text, "answer", [cut]) == prompts.visible(TRICKY)
    assert pieces(text, "answer", list(range(len(text)))) == prompts.visible(TRICKY)


@given(st.text(alphabet=st.characters(), max_size=40), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_live_text_adds_up_to_what_the_reply_says(said: str, cuts: list[int], ascii_only: bool) -> None:
    text = json.dumps({"answer": said, "other": "x"}, ensure_ascii=ascii_only)
    assert pieces(text, "answer", cuts) == prompts.visible(json.loads(text)["answer"])


def test_live_text_shows_characters_as_they_come() -> None:
    live = LiveText("answer")
    assert [live.feed(chunk) for chunk in ('{"ans', 'wer": "It', " is \\", "ud83d", "\\ude00 so", '", "x": "y"}')] == [
        "",
        "It",
        " is ",
        "",
        "😀 so",
        "",
    ]


@given(st.text(max_size=80))
def test_live_text_survives_anything(text: str) -> None:
    assert '"' not in text or isinstance(LiveText("answer").feed(text), str)
    assert LiveText().feed(text) == prompts.visible(text)


def test_live_text_of_a_prompt_follows_its_first_field() -> None:
    schema: dict[str, object] = {"type": "object", "properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}
    shown = live_text(Prompt(system="", user="", json_schema=schema, live=True))
    assert shown.feed('{"text": "Hello", "n": 1}') == "Hello"
    assert live_text(Prompt(system="", user="", live=True)).feed("plain") == "plain"


@pytest.mark.parametrize("schema", [None, {"type": "object", "properties": {"choice": {"type": "string"}}}])
def test_nothing_shows_of_a_prompt_that_is_not_live(schema: dict[str, object] | None) -> None:
    hidden = live_text(Prompt(system="", user="", json_schema=schema))
    assert hidden.feed('{"choice": "A"}') == ""
