"""The pages of one's own account in a real browser, whose security policy lets no inline script or style through."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.conf import LazySettings, global_settings
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from tests.support.browser import Complaints, chromium
from tests.support.stack import LiveStack

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"
SHOTS = os.environ.get("QUORUM_SCREENSHOTS", "")


class LocalStack(LiveStack):
    """Under a name, for passkeys are for names and not for addresses."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "PUBLIC_URL": self.url.replace("127.0.0.1", "localhost")}


@pytest.fixture
def site(settings: LazySettings, transactional_db: None, tmp_path: Path) -> Iterator[str]:
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS  # the server's processes use the real one
    User.objects.create_user("ada@example.org", PASSWORD, name="Ada")
    with LocalStack(tmp_path, only=["web"], env={"SIGNUP_OPEN": "true"}) as stack:
        yield stack.url.replace("127.0.0.1", "localhost")


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def code(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def sign_in(page: Page, site: str) -> None:
    page.goto(f"{site}/accounts/login")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def confirm(page: Page) -> None:
    expect(page.get_by_role("heading", name="Confirm Access")).to_be_visible()
    shot(page, "confirm")
    page.locator("input[type=password]").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def test_a_person_sets_up_a_second_factor_and_signs_in_with_it(site: str) -> None:
    with chromium() as browser:
        page, complaints = _page(browser)
        shot_of_strangers_pages(page, site)
        sign_in(page, site)
        _account_pages(page, site)
        page.goto(f"{site}/accounts/2fa/totp/activate/")
        confirm(page)
        expect(page.locator("img.qr")).to_be_visible()
        assert page.locator("img.qr").evaluate("image => image.naturalWidth") > 0
        shot(page, "totp")
        secret = page.locator("#authenticator_secret").input_value()
        page.locator("input[name=code]").fill(code(secret))
        page.get_by_role("button", name="Activate").click()
        expect(page.get_by_label("Unused codes")).to_be_visible()
        shot(page, "recovery-codes")
        recovery = page.get_by_label("Unused codes").input_value().split()[0]
        _add_passkey(page, site)
        page.get_by_role("button", name="Sign out").click()
        sign_in(page, site)
        expect(page.get_by_role("heading", name="Two-Factor Authentication")).to_be_visible()
        shot(page, "second-factor")
        page.locator("input[name=code]").fill(recovery)
        page.get_by_role("button", name="Sign In").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        assert complaints.lines == []


def shot_of_strangers_pages(page: Page, site: str) -> None:
    for name in ("login", "signup/", "password/reset/"):
        page.goto(f"{site}/accounts/{name}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        shot(page, re.sub(r"\W+", "-", name))


def _account_pages(page: Page, site: str) -> None:
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    for name in ("email/", "password/change/", "2fa/"):
        page.goto(f"{site}/accounts/{name}")
        expect(page.get_by_role("navigation", name="Account")).to_be_visible()
        shot(page, re.sub(r"\W+", "-", name))


def _add_passkey(page: Page, site: str) -> None:
    """With an authenticator that Chromium plays."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(f"{site}/accounts/2fa/webauthn/add/")
    page.get_by_label("Passwordless").check()
    shot(page, "passkey")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("You have added 1 security key")).to_be_visible()
    page.goto(f"{site}/accounts/2fa/webauthn/")
    expect(page.get_by_text("Passkey", exact=True)).to_be_visible()
    shot(page, "passkeys")


def _page(browser: Browser) -> tuple[Page, Complaints]:
    complaints = Complaints()
    page = browser.new_context().new_page()
    complaints.watch(page)
    return page, complaints
