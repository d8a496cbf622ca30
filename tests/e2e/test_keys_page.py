"""The page of keys in a real browser: a key with scopes, its rotation, its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client
from playwright.sync_api import expect

from accounts.models import User
from tests.realtime.live import LiveServer
from tests.support.browser import Complaints, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(300),
    # WhiteNoise's files; in production nobody makes an error of it.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators"),
]


@pytest.fixture
def server(transactional_db: None) -> Iterator[LiveServer]:
    server = LiveServer()
    server.start()
    yield server
    server.stop()


def test_keys_are_made_rotated_and_revoked(
    server: LiveServer, user: User, settings: LazySettings, tmp_path: Path
) -> None:
    signed_in, name = Client(), settings.SESSION_COOKIE_NAME
    signed_in.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    settings.CSRF_TRUSTED_ORIGINS = [server.url]
    complaints, secrets = Complaints(), []
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1100, "height": 900})
        context.add_cookies([{"name": name, "value": signed_in.cookies[name].value, "url": server.url}])
        page = context.new_page()
        complaints.watch(page)
        page.goto(f"{server.url}/accounts/keys")
        page.get_by_label("Name").fill("nightly import")
        page.get_by_label("packs:write").check()
        page.get_by_label("councils:read").check()
        page.get_by_role("button", name="Create key").click()
        secrets.append(page.get_by_label("The key", exact=True).input_value())
        page.get_by_text("Rotate", exact=True).click()
        page.get_by_label("The old key works for").select_option("1 day more")
        page.screenshot(path=tmp_path / "keys.png", full_page=True)
        page.get_by_role("button", name="Make a new key").click()
        expect(page.get_by_text("The old one works until")).to_be_visible()
        secrets.append(page.get_by_label("The key", exact=True).input_value())
        page.screenshot(path=tmp_path / "rotated.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 800})
        page.screenshot(path=tmp_path / "narrow.png", full_page=True)
        page.wait_for_function("document.documentElement.scrollWidth <= 390")  # once it is laid out anew
        page.get_by_role("button", name="Revoke nightly import").click()
        expect(page.get_by_text("no longer works")).to_be_visible()
    key = user.api_keys.get()
    assert complaints.lines == []
    assert (key.scopes, key.version, key.revoked_at is not None) == (["packs:write", "councils:read"], 3, True)
    assert len({secret for secret in secrets if len(secret) == 52}) == 2
