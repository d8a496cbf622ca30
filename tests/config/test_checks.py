from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("RATE_LIMITS", {"login": "ten a minute"}, "quorum.E001"),
        ("EMBEDDING_BASE_URL", "http://127.0.0.1:1/v1", "quorum.E002"),
        ("LLM_BASE_URL", "http://127.0.0.1:1/v1", "quorum.E003"),
        ("LLM_PRICE_IN", 1, "quorum.E010"),
        ("LLM_PRIVATE_NETWORKS", ["10.0.0.1/8", "10.0.0.0/8"], "quorum.E011"),
        ("ENCRYPTION_KEYS", ["r" * 40, "short"], "quorum.E012"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: object, code: str, settings: LazySettings) -> None:
    settings.LLM_MODEL = settings.EMBEDDING_MODEL = ""
    setattr(settings, name, value)
    assert code in [message.id for message in run_checks()]


def test_the_shipped_settings_pass() -> None:
    assert run_checks() == []
