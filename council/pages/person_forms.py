"""What a person fills in for its seat: one form for each kind of turn, made for the turn, and the reply that its fields come to.

They know shapes. What is a valid turn is ``people.reply``'s to say, as for models; ``FIELDS`` brings its pointers back to fields.
"""

from __future__ import annotations

from typing import Any

from django import forms

from council.deliberation import prompts
from council.deliberation.types import Scale, Stage, TurnContext, TurnKind
from council.people import TEXT_MAX

Json = dict[str, Any]
CITE = "Cite the evidence above by its number, like [2]."
FIELDS = {
    "ranking": None,
    "scores": None,
    "claims": None,
    "questions": "question",
    "replies": None,
    "accept": "verdict",
}


def _text(label: str, rows: int = 5, *, required: bool = True, help_text: str = "") -> forms.CharField:
    area = forms.Textarea(attrs={"rows": rows})
    return forms.CharField(label=label, max_length=TEXT_MAX, widget=area, required=required, help_text=help_text)


class PersonForm(forms.Form):
    """``context`` is what the seat may know."""

    submit = "Send"

    def __init__(self, context: TurnContext, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context = context
        self.build()

    def build(self) -> None:
        raise NotImplementedError

    def reply(self) -> Json:
        raise NotImplementedError


class AnswerForm(PersonForm):
    submit = "Give this answer"

    def build(self) -> None:
        context, fields = self.context, self.fields
        if context.options:
            choices = [(option, option) for option in context.options]
            fields["option"] = forms.ChoiceField(label="Your choice", choices=choices, widget=forms.RadioSelect)
        if context.scale is not None:
            fields["estimate"] = _estimate(context.scale)
        fields["answer"] = _text(
            "Your reasons" if context.options else "Your answer", help_text=CITE if context.evidence else ""
        )
        sure = forms.NumberInput(attrs={"min": 0, "max": 100})
        fields["confidence"] = forms.IntegerField(
            label="How likely is it right, in percent", min_value=0, max_value=100, initial=70, widget=sure
        )
        fields["would_change"] = _text("What would change your mind", 2, required=False)
        if context.stage is Stage.DEBATE and context.own is not None:
            self._debate(context)

    def _debate(self, context: TurnContext) -> None:
        """The earlier answer stands in the fields: who changes nothing keeps it."""
        own = context.own
        if own is not None:
            self.initial.update({
                "answer": own.answer, "option": own.option, "estimate": own.estimate, "confidence": round(own.confidence * 100),
                "would_change": own.would_change,
            })  # fmt: skip
        if not context.options and context.scale is None:
            self.fields["changed"] = forms.BooleanField(label="This is another answer than before", required=False)
        why = "The evidence or the error that you can name; agreement alone is no reason."
        self.fields["because"] = _text("If you changed your answer: why", 2, required=False, help_text=why)
        for n, asked in enumerate(context.asked, start=1):
            self.fields[f"reply_{n}"] = _text(f"You were asked: {asked}", 2, required=False)
        if letters := prompts.addressees(context):
            to = [("", "Nobody"), *((letter, f"Answer {letter}") for letter in letters)]
            self.fields["question_to"] = forms.ChoiceField(label="Ask the author of", choices=to, required=False)
            self.fields["question"] = _text("Your question", 2, required=False)

    def reply(self) -> Json:
        data = self.cleaned_data
        said = {
            "answer": data["answer"],
            "claims": [],
            "confidence": data["confidence"] / 100,
            "would_change": data["would_change"],
        }
        said |= {name: data[name] for name in ("option", "estimate", "changed", "because") if name in data}
        replies = [(n, data.get(f"reply_{n}")) for n in range(1, len(self.context.asked) + 1)]
        said["replies"] = [{"question": n, "text": text} for n, text in replies if text]
        asks = data.get("question_to") and data.get("question")
        return {**said, "questions": [{"to": data["question_to"], "text": data["question"]}] if asks else []}


def _estimate(scale: Scale) -> forms.FloatField:
    step = {"step": 1 if scale.kind == "likert" else "any"}
    words = prompts.scale_words(scale)
    return forms.FloatField(
        label="Your estimate",
        help_text=words.capitalize(),
        widget=forms.NumberInput(attrs=step),
        min_value=scale.low,
        max_value=scale.high,
    )


class BallotForm(PersonForm):
    submit = "Cast this ballot"

    def build(self) -> None:
        self.labels = list(prompts.letters(self.context.candidates))
        places = [("", "–"), *((str(n), str(n)) for n in range(1, len(self.labels) + 1))]
        for label in self.labels:
            self.fields[f"place_{label}"] = forms.ChoiceField(label=f"Place of {label}", choices=places, required=False)
            points = forms.NumberInput(attrs={"min": 0, "max": 10})
            self.fields[f"score_{label}"] = forms.IntegerField(
                label=f"Points for {label}", min_value=0, max_value=10, required=False, widget=points
            )
        self.fields["abstain"] = forms.BooleanField(label="I cannot judge: I abstain", required=False)

    @property
    def rows(self) -> list[Json]:
        """In this voter's own order."""
        return [
            {"label": label, "text": one.text, "place": self[f"place_{label}"], "score": self[f"score_{label}"]}
            for label, one in zip(self.labels, self.context.candidates, strict=True)
        ]

    def clean(self) -> Json:
        cleaned: Json = super().clean() or {}
        places = [cleaned[f"place_{label}"] for label in self.labels if cleaned.get(f"place_{label}")]
        if not cleaned.get("abstain"):
            if len(set(places)) < len(places):
                raise forms.ValidationError("Each place can be given once.")
            if not places:
                raise forms.ValidationError("Give at least one candidate a place, or abstain.")
        return cleaned

    def reply(self) -> Json:
        data = self.cleaned_data
        placed = [(int(data[f"place_{label}"]), label) for label in self.labels if data[f"place_{label}"]]
        scores = {label: data[f"score_{label}"] for label in self.labels if data[f"score_{label}"] is not None}
        return {"ranking": [label for _, label in sorted(placed)], "scores": scores, "abstain": data["abstain"]}


class TextForm(PersonForm):
    def build(self) -> None:
        dissents = self.context.kind is TurnKind.DISSENT
        self.fields["text"] = _text(
            "Your minority report" if dissents else "The strongest case against it", help_text=CITE
        )

    def reply(self) -> Json:
        return {"text": self.cleaned_data["text"]}


class VerdictForm(PersonForm):
    submit = "Give this verdict"

    def build(self) -> None:
        choices = [("accept", "I accept the text"), ("reject", "I reject it")]
        self.fields["verdict"] = forms.ChoiceField(label="Your verdict", choices=choices, widget=forms.RadioSelect)
        self.fields["reason"] = _text("What is wrong with it", 3, required=False)

    def reply(self) -> Json:
        return {"accept": self.cleaned_data["verdict"] == "accept", "reason": self.cleaned_data["reason"]}


class GateForm(forms.Form):
    note = _text("A note for those who go on, the chair among them", 2, required=False)


FORMS: dict[TurnKind, type[PersonForm]] = {
    TurnKind.ANSWER: AnswerForm,
    TurnKind.BALLOT: BallotForm,
    TurnKind.DISSENT: TextForm,
    TurnKind.ATTACK: TextForm,
    TurnKind.RATIFY: VerdictForm,
}
