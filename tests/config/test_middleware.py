from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


def test_only_the_admin_may_evaluate_scripts(client: Client) -> None:
    admin = client.get("/admin/login/").headers["Content-Security-Policy"]
    page = client.get("/accounts/login").headers["Content-Security-Policy"]
    assert "'unsafe-eval'" in admin
    assert "unsafe" not in page
