from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from accounts.models import User


def test_one_address_is_one_user_whatever_its_case(user: User) -> None:
    with pytest.raises(IntegrityError):
        User(email="ADA@example.org").save()


def test_a_form_stores_addresses_in_lower_case_and_names_the_twin(user: User) -> None:
    with pytest.raises(ValidationError, match="already exists"):
        User(email="ADA@Example.org", password="x").full_clean()


def test_signing_in_ignores_case(user: User) -> None:
    assert User.objects.get_by_natural_key("Ada@Example.ORG") == user


def test_a_user_needs_an_address(db: None) -> None:
    with pytest.raises(ValueError, match="email"):
        User.objects.create_user("")
