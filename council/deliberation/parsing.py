"""The words that seats wrote, made into values; and the part of them that may be shown while it is being written.

Lenient in four documented ways and no more, for servers that ignore ``response_format``: a ``<think>`` block before the reply
is skipped, a Markdown code fence is opened, prose around the one JSON object is ignored, and a bare or quoted label serves
where one label was asked for. Broken JSON (trailing commas, comments, single quotes, NaN) is ``not_json``: a guess at what a
seat meant would be our answer, not the seat's.

Everything a seat wrote passes through ``prompts.visible``, for PostgreSQL refuses NUL and lone surrogates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError

from council.deliberation import citations, prompts
from council.deliberation.types import (
    Answer,
    Aside,
    Attack,
    Ballot,
    Claim,
    Dissent,
    Evidence,
    Persuasion,
    Question,
    Reply,
    Synthesis,
    TurnContext,
    Verdict,
)

BRACES = 20  # opening braces tried as the start of the object; a flood of them must not cost quadratic time
Code = Literal["not_json", "wrong_schema", "empty", "refusal", "unknown_candidate", "unknown_evidence", "tool_misuse"]
T = TypeVar("T", bound=BaseModel)

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_REFUSAL = re.compile(
    r"\A\W*(?:i['’]?m sorry|i am sorry|sorry[,.]|i apologi[sz]e|(?:as an ai[^.]*?,? )?i (?:can['’]?t|cannot|can not|won['’]t|"
    r"am unable to|am not able to|must decline)|as an ai\b)",
    re.IGNORECASE,
)


class ReplyError(Exception):
    """A reply that is no valid turn. ``code`` is one of ``Code``; ``detail`` can be shown to the model and to people; ``at`` is the
    way to what is wrong ("claims/0/text"), "" for the whole."""

    def __init__(self, code: Code, detail: str, at: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code: Code = code
        self.detail = detail
        self.at = at


# --- JSON -------------------------------------------------------------------------------------------------------------


def json_object(reply: str) -> dict[str, Any]:
    """The JSON object in a reply. Two that differ are ``not_json``."""
    text = _THINKING.sub("", reply)
    if not text.strip():
        raise ReplyError("empty", "the reply is empty")
    objects = _objects(text)
    if any(one != objects[0] for one in objects):
        # One of them is likely quoted from the evidence, which may hold a ballot. A guess at which would be ours.
        raise ReplyError("not_json", "the reply holds more than one JSON object")
    if objects:
        return objects[0]
    if _REFUSAL.match(text):
        raise ReplyError("refusal", f"the model refused: {prompts.clip(prompts.one_line(text), 120)}")
    raise ReplyError("not_json", "the reply holds no JSON object")


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a reply that say something, one behind the other; those within others are part of them."""
    found, at = [], 0
    for _ in range(BRACES):
        at = text.find("{", at)
        if at < 0:
            break
        value, at = _decode(text, at)
        found += [value] if value else []
    return found


def _decode(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The object that begins at ``start`` and where it ends; None and the next character where there is none."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (
        ValueError,
        RecursionError,
    ):  # malformed, a 5,000-digit number, or nested without end: not an object of ours
        return None, start + 1
    return (value, end) if isinstance(value, dict) else (None, start + 1)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


# --- what replies look like -------------------------------------------------------------------------------------------


def _written(value: str) -> str:
    return prompts.visible(value).strip()


def _percent(value: object) -> object:
    """Models write 0.8, 80 and "80%" alike; a whole number above 1 can only be a percentage."""
    if isinstance(value, bool):
        return "no number"
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,3}\s*%\s*", value):
        return int(value.strip(" \t\n%")) / 100
    return value / 100 if isinstance(value, int | float) and 1 < value <= 100 and value == int(value) else value


def _reference(value: object) -> object:
    return value.strip(" []【】") if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(_written)]
Some = Annotated[Text, Field(min_length=1)]
Share = Annotated[float, BeforeValidator(_percent), Field(ge=0, le=1)]
Number = Annotated[int, BeforeValidator(_reference)]


class _Reply(BaseModel):
    model_config = ConfigDict(
        extra="ignore"
    )  # models add "reasoning" and the like; what we did not ask for, we do not keep


class _ClaimReply(_Reply):
    text: Text
    evidence: tuple[Number, ...] = ()


class _QuestionReply(_Reply):
    to: str
    text: Text


class _ReplyReply(_Reply):
    question: Number
    text: Text


class _AnswerReply(_Reply):
    answer: Text
    option: str | None = None
    estimate: float | None = Field(default=None, allow_inf_nan=False)
    claims: tuple[_ClaimReply, ...] = ()
    confidence: Share
    would_change: Text = ""
    changed: StrictBool = False
    because: Text | None = None
    questions: tuple[_QuestionReply, ...] = ()
    replies: tuple[_ReplyReply, ...] = ()


class _BallotReply(_Reply):
    ranking: tuple[str, ...] = ()
    scores: dict[str, int | None] | None = None
    abstain: StrictBool = False


class _SynthesisReply(_Reply):
    answer: Text


class _DissentReply(_Reply):
    text: Text


class _VerdictReply(_Reply):
    accept: StrictBool
    reason: Text = ""


def _validated(shape: type[T], reply: str) -> T:
    try:
        return shape.model_validate(json_object(reply))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "reply"
        at = "/".join(str(step) for step in first["loc"])
        raise ReplyError("wrong_schema", f"{where}: {first['msg']}", at) from error


def _substance(text: str, what: str, person: bool = False) -> str:
    """``person``: somebody who begins with "Sorry, ..." refuses nothing."""
    if not text:
        raise ReplyError("empty", f"{what} is empty", what if what.isidentifier() else "")
    if not person and _REFUSAL.match(text) and len(text) < 400:  # a long answer may begin with "I cannot recommend ..."
        raise ReplyError("refusal", f"the model refused: {prompts.clip(text, 120)}")
    return text


# --- turns ------------------------------------------------------------------------------------------------------------


def answer(reply: str, context: TurnContext, person: bool = False) -> Answer:
    """An answer turn. Marks and evidence numbers stay as written; ``citations.check`` reports those that name nothing."""
    said = _validated(_AnswerReply, reply)
    text = _substance(said.answer, "answer", person)
    option = _option(said.option, context.options)
    estimate = estimated(said.estimate, context)
    claims = tuple(Claim(text=one.text, evidence=one.evidence) for one in said.claims if one.text)
    because = _because(said, option, context)
    if context.own is not None and context.revisiting and not context.options and because is None:
        text = context.own.answer  # positions on open questions are texts, so one that is kept must stay the same text
    return Answer(
        answer=text,
        option=option,
        estimate=estimate,
        claims=claims,
        confidence=said.confidence,
        would_change=said.would_change,
        changed_because=because,
        persuaded_by=persuasion(because, context.evidence),
        overlap=on_topic(text, option, context),
        questions=_questions(said.questions, context),
        replies=_replies(said.replies, context),
    )


def estimated(value: float | None, context: TurnContext) -> float | None:
    """The estimate where one was asked for, within its scale."""
    if context.scale is None:
        return None
    if value is None or not context.scale.holds(value):
        raise ReplyError("wrong_schema", f"estimate: must be {prompts.scale_words(context.scale)}", "estimate")
    return value


def on_topic(text: str, option: str | None, context: TurnContext) -> float | None:
    """Share of the question's content words that an answer (with the option it names) has; None for a question without any."""
    asked = " ".join([context.question, *context.options])
    return round(citations.overlap(asked, f"{option or ''} {text}"), 4) if citations.content_words(asked) else None


_EVIDENCE_NUMBER = re.compile(r"\b(?:evidence|source|passage)\s+(?:no\.?\s*)?\[?(\d{1,3})\b", re.IGNORECASE)
_CONFORMING = re.compile(
    r"\b(?:majority|consensus|every(?:one|body)|(?:most|all|the|other|others?)\s+(?:of\s+the\s+)?(?:other\s+)?(?:members?|seats?|answers?|others)"
    r"|others|agree(?:s|d|ment)?|convincing|persuasive)\b",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"\b(?:err\w*|mistak\w*|wrong\w*|overlook\w*|ignor\w*|misread\w*|misunderst\w*|contradict\w*|false\w*|incorrect\w*|flaw\w*|"
    r"miss(?:ed|es|ing)|forg[eo]t\w*|assum\w*|confus\w*|miscount\w*|outdated|fail(?:s|ed)?\s+to)\b",
    re.IGNORECASE,
)


def persuasion(because: str | None, evidence: Sequence[Evidence]) -> Persuasion | None:
    """What a stated cause comes to: the first passage that it names and the seat was shown; else an error; else, when all it says is
    that others think so, nothing."""
    if because is None:
        return None
    shown = {item.n: item for item in evidence}
    named = [*citations.numbers(because), *(int(n) for n in _EVIDENCE_NUMBER.findall(because))]
    if item := next((shown[n] for n in named if n in shown), None):
        return Persuasion(kind="evidence", n=item.n, entry=item.entry, revision=item.revision)
    only_others = _CONFORMING.search(because) and not _ERROR.search(because)
    return Persuasion(kind="none" if only_others else "error")


QUESTIONS = 2  # that a seat may put in one turn


def _questions(said: Sequence[_QuestionReply], context: TurnContext) -> tuple[Question, ...]:
    """Questions under letters that this seat was shown. A question to nobody is not worth asking the whole turn again."""
    letters = prompts.addressees(context)
    known = [(_letter(one.to), one.text) for one in said if one.text and _letter(one.to) in letters]
    return tuple(Question(to=to, text=prompts.clip(text, prompts.OTHER_CHARS)) for to, text in known[:QUESTIONS])


def _letter(written: str) -> str:
    return re.sub(r"^answer\s+", "", written.strip(), flags=re.IGNORECASE).strip(" .()[]").upper()


def _replies(said: Sequence[_ReplyReply], context: TurnContext) -> tuple[Reply, ...]:
    """The first reply to each question that was put; one that is left out stays unanswered, which the record shows."""
    given = {one.question: one.text for one in reversed(said) if one.text and 1 <= one.question <= len(context.asked)}
    return tuple(Reply(question=n, text=given[n], asked=context.asked[n - 1]) for n in sorted(given))


def _because(said: _AnswerReply, option: str | None, context: TurnContext) -> str | None:
    """The cause of a changed position, None when it is kept. On a closed question the option decides what changed, whatever the
    seat declares, and so does an estimate; on an open one its declaration does."""
    if context.own is None or not context.revisiting:
        return None
    changed = option != context.own.option if context.options else said.changed
    if context.scale is not None:
        changed = said.estimate != context.own.estimate
    if not changed:
        return None
    if not said.because:
        raise ReplyError(
            "wrong_schema",
            "because: you changed your answer, so name the evidence or the error that changed it",
            "because",
        )
    return said.because


def _option(written: str | None, options: Sequence[str]) -> str | None:
    if not options:
        return None
    if written is None or not written.strip():
        raise ReplyError("wrong_schema", "option: one of the options must be chosen", "option")
    by_form = {_form(option): option for option in options}
    if _form(written) not in by_form:
        raise ReplyError(
            "unknown_candidate",
            f"option: {prompts.clip(prompts.one_line(written), 80)!r} is none of the options",
            "option",
        )
    return by_form[_form(written)]


def _form(text: str) -> str:
    return prompts.one_line(text).casefold().strip(" .\"'“”-")


def ballot(reply: str, labels: Mapping[str, str]) -> Ballot:
    """A ballot over labels ("A" ...), mapped to candidate ids. Unknown labels are errors, never dropped."""
    said = _validated(_BallotReply, reply)
    if said.abstain:
        return Ballot(abstain=True)
    ranking = tuple(_candidate(label, labels, f"ranking/{place}") for place, label in enumerate(said.ranking))
    if not ranking:
        raise ReplyError("empty", "ranking is empty and the ballot does not abstain", "ranking")
    if len(set(ranking)) < len(ranking):
        raise ReplyError("wrong_schema", "ranking: a candidate stands twice", "ranking")
    given = {label: score for label, score in (said.scores or {}).items() if score is not None}
    scores = {_candidate(label, labels, "scores"): score for label, score in given.items()}
    if any(not 0 <= score <= 10 for score in scores.values()):
        raise ReplyError("wrong_schema", "scores: a score lies outside 0 to 10", "scores")
    return Ballot(ranking=ranking, scores=scores)


def _candidate(label: str, labels: Mapping[str, str], at: str) -> str:
    key = re.sub(r"^candidate\s+", "", label.strip(), flags=re.IGNORECASE).strip(" .()[]").upper()
    if key not in labels:
        raise ReplyError("unknown_candidate", f"{prompts.clip(prompts.one_line(label), 40)!r} is no candidate", at)
    return labels[key]


def synthesis(reply: str) -> Synthesis:
    return Synthesis(answer=_substance(_validated(_SynthesisReply, reply).answer, "answer"))


def dissent(reply: str, person: bool = False) -> Dissent:
    return Dissent(text=_substance(_validated(_DissentReply, reply).text, "text", person))


def attack(reply: str, person: bool = False) -> Attack:
    return Attack(text=_substance(_validated(_DissentReply, reply).text, "text", person))


def aside(reply: str, context: TurnContext) -> Aside:
    text = _substance(_validated(_DissentReply, reply).text, "text")
    return Aside(text=text, question=next(iter(context.asked), ""))


def verdict(reply: str) -> Verdict:
    said = _validated(_VerdictReply, reply)
    if not said.accept and not said.reason:
        raise ReplyError("wrong_schema", "reason: you rejected the text, so say what is wrong with it", "reason")
    return Verdict(accept=said.accept, reason=said.reason)


def estimate(reply: str, context: TurnContext) -> float:
    """The figure of ``{"estimate": ...}``, within the scale."""
    value = json_object(reply).get("estimate")
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        value = None
    found = estimated(value if value is None else float(value), context)
    if found is None:
        raise ValueError("no estimate was asked for")
    return found


# --- short replies of the guided dialogue -----------------------------------------------------------------------------


def choice(reply: str, allowed: Sequence[str], code: Code = "wrong_schema") -> str:
    """One of ``allowed`` from ``{"choice": ...}``, from a reply cut off after it, or from a reply that names just one label."""
    text = _THINKING.sub("", prompts.visible(reply)).strip()
    if not text:
        raise ReplyError("empty", "the reply is empty")
    chosen = _chosen(text)
    named = [chosen] if chosen is not None else _named(text, allowed)
    if len(named) == 1 and named[0] in allowed:
        return named[0]
    raise ReplyError(code, f"{prompts.clip(prompts.one_line(text), 80)!r} is not one of: {', '.join(allowed)}")


def _chosen(text: str) -> str | None:
    start = text.find("{")
    value = _decode(text, start)[0] if start >= 0 else None
    choice = (value or {}).get("choice")
    return choice.strip() if isinstance(choice, str) else None


def _named(text: str, allowed: Sequence[str]) -> list[str]:
    """The labels that a short reply names as whole words; of nested ones ("sure" in "very sure") the longest."""
    found = [label for label in allowed if re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", text)]
    longest = [label for label in found if not any(label != other and label in other for other in found)]
    return [label for label in longest if len(text) <= len(label) + 40 or f'"{label}"' in text]


def scores(reply: str, labels: Mapping[str, str]) -> dict[str, int]:
    """Scores 0 to 10 by candidate id from ``{"A": 7, ...}``; all labels must be scored."""
    said = json_object(reply)
    missing = [label for label in labels if label not in said]
    values = {labels[label]: said[label] for label in labels if label not in missing}
    if missing or any(type(score) is not int or not 0 <= score <= 10 for score in values.values()):
        raise ReplyError("wrong_schema", f"each of {', '.join(labels)} needs a whole number from 0 to 10")
    return values


_LABEL = re.compile(r"\A(?:answer|reason|summary|rewritten text|rewrite|output|sentence|text)\s*:\s*", re.IGNORECASE)


def prose(reply: str, token: str = "", limit: int = 3) -> tuple[str, ...]:
    """At most ``limit`` whole sentences of a small model's reply, tidied: fence lines, labels, list numbers, surrounding quotes
    and repeated sentences go, and so does a last sentence that ran into the token limit (unless it is all there is)."""
    text = _THINKING.sub("", prompts.visible(reply))
    if token:
        text = re.sub(rf"<{{0,9}}/?\s{{0,9}}{token}[^<>\n]{{0,99}}>+|<{{0,9}}\s{{0,9}}{token}", "", text)
    tidy = re.sub(r"^\s{0,99}(?:[-*•#>]+|\d{1,2}[.)])\s+", "", text, flags=re.MULTILINE)
    tidy = _LABEL.sub("", tidy.replace("**", "").strip()).strip(' "“”')
    _substance(tidy, "the text")
    found = [" ".join(span.of(tidy).split()) for span in citations.sentences(tidy)]
    whole = [sentence for sentence in found if re.search(r"[.!?。！？][\"'”’)\]\d\[ ]*$", sentence)]
    return tuple(dict.fromkeys(whole or [found[0].rstrip(" ,;:") + "…"]))[:limit]
