"""Forms of the pages. They know shapes; what is sound is the services' to say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from council.api.serializers import CONTENT_MAX as MESSAGE_MAX
from council.api.serializers import OPTION_MAX, QUESTION_MAX
from council.deliberation.protocol import PRESETS
from council.deliberation.types import Rule
from council.models import CouncilTemplate, Message
from council.pages import wording
from council.selectors import templates_for
from council.services import Plan
from knowledge.drafts import CONTENT_MAX
from knowledge.models import TAG_MAX, TITLE_MAX, Language
from knowledge.selectors import packs_for

PRESET = {
    "council": "Answers, then a secret ballot",
    "debate": "Answers, a debate, then a secret ballot",
    "poll": "Answers and their count",
    "delphi": "Estimates of a figure, in rounds",
    "red-team": "Answers, an attack on the leading one, a debate, then a secret ballot",
}
KIND = {
    "note": "A remark",
    "evidence": "Evidence",
    "constraint": "A condition to keep to",
    "question": "A question",
}


class TagsField(forms.CharField):
    """Words between commas, as a list."""

    def to_python(self, value: Any) -> Any:
        tags = [tag.strip() for tag in (super().to_python(value) or "").split(",") if tag.strip()]
        if any(len(tag) > TAG_MAX for tag in tags):
            raise ValidationError(f"A tag has at most {TAG_MAX} characters.")
        return list(dict.fromkeys(tags))

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class LinesField(forms.CharField):
    """One value per line, as a list."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> Any:
        lines = [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]
        if any(len(line) > OPTION_MAX for line in lines):
            raise ValidationError(f"A line has at most {OPTION_MAX} characters.")
        return lines

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value


class PackForm(forms.Form):
    name = forms.CharField(max_length=TITLE_MAX)
    description = forms.CharField(max_length=4000, required=False, widget=forms.Textarea(attrs={"rows": 3}))
    tags = TagsField(required=False, help_text="Separated by commas.")
    language = forms.ChoiceField(
        choices=[(value, value.capitalize()) for value in Language.values],
        initial=Language.ENGLISH.value,
        help_text="How words are stemmed for search.",
    )


class EntryForm(forms.Form):
    title = forms.CharField(max_length=TITLE_MAX)
    content = forms.CharField(
        max_length=CONTENT_MAX,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text="Markdown is welcome: headings guide how the text is cut into passages.",
    )
    tags = TagsField(required=False, help_text="Separated by commas.")


class CouncilForm(forms.Form):
    """What to convene. Only the question is required."""

    question = forms.CharField(
        max_length=QUESTION_MAX,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True, "data-enter": True, "enterkeyhint": "go"}),
        help_text="Enter convenes the council; Shift+Enter makes a new line.",
    )
    options = LinesField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="One per line. Left empty, the question is open.",
    )
    packs = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Knowledge packs",
        help_text="What the seats may read.",
    )
    preset = forms.ChoiceField(required=False, label="Procedure")
    rule = forms.ChoiceField(required=False, label="Decision rule")
    template = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._choices("packs", [(str(pack.pk), pack.name) for pack in packs_for(user).order_by("name", "pk")])
        self._choices("preset", [("", "As usual"), *((name, PRESET.get(name, name)) for name in PRESETS)])
        self._choices("rule", [("", "As usual"), *((rule.value, wording.RULE[rule.value]) for rule in Rule)])

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # declared above as choice fields

    def plan(self) -> Plan:
        data = self.cleaned_data
        return Plan(
            question=data["question"],
            options=data["options"],
            packs=[UUID(pack) for pack in data["packs"]],
            template=data["template"] or None,
            protocol={name: data[name] for name in ("preset", "rule") if data[name]},
        )


class TemplatePicker(forms.Form):
    """Which template fills the form in."""

    template = forms.ChoiceField(required=False, label="Start from a template")

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(template.slug, template.title) for template in templates_for(user)]
        self.fields["template"].choices = [("", "The usual three seats and a chair"), *choices]  # type: ignore[attr-defined]


def filled_from(template: CouncilTemplate, user: User) -> dict[str, Any]:
    """Initial values for ``CouncilForm``."""
    readable = packs_for(user).filter(pk__in=template.packs.values("pk"))
    return {
        "question": template.question,
        "options": template.options,
        "packs": [str(pack) for pack in readable.values_list("pk", flat=True)],
        "preset": template.protocol.get("preset", ""),
        "rule": template.protocol.get("rule", ""),
        "template": template.slug,
    }


class MessageForm(forms.Form):
    content = forms.CharField(
        max_length=MESSAGE_MAX,
        label="Say something to the council",
        widget=forms.Textarea(attrs={"rows": 3, "data-enter": True}),
    )
    kind = forms.ChoiceField(
        label="What it is",
        choices=[(kind, KIND[kind]) for kind in ("note", *sorted({*Message.Kind.values} - {"note"}))],
    )
    interrupt = forms.BooleanField(
        required=False,
        label="Interrupt",
        help_text="Seats that are still writing are asked again with it before them. Otherwise it is read at the next stage.",
    )
