"""Guessing at passwords is slow, and whoever guesses can lock nobody out."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.db import connection
from django.test import Client
from pytest_django import Settings

from accounts import challenges
from accounts.models import SignIn, User

LOGIN, ADMIN = "/accounts/login", "/admin/login/"
PASSWORD, WRONG = "correct horse battery", "not the password"
OPEN = {"login": "", "login_ip": "", "login_admin": "", "login_account": "", "read": "", "write": "", "start": ""}


@pytest.fixture
def limited(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(challenges, "BITS", 6)
    settings.RATELIMIT_ENABLE = True
    settings.RATE_LIMITS = OPEN
    settings.RATELIMIT_CACHE_PREFIX = f"test-{time.monotonic_ns()}:"
    return settings


def rates(settings: Settings, **rates: str) -> None:
    settings.RATE_LIMITS = {**OPEN, **rates}


def stranger(number: int = 1) -> Client:
    return Client(REMOTE_ADDR=f"192.0.2.{number}")


def sign_in(
    client: Client, password: str = WRONG, email: str = "ada@example.org", path: str = LOGIN, **more: str
) -> Any:
    return client.post(path, {"username": email, "password": password, **more})


def challenge_of(answer: Any) -> str:
    found = re.search(r'data-challenge="([^"]*)"', answer.content.decode())
    assert found is not None
    return found[1]


def solve(challenge: str) -> str:
    bits = int(challenge.partition(".")[0])
    return next(text for n in count() if challenges.zero_bits(text := f"{challenge}.{n}") >= bits)


def attack(attempts: int) -> None:
    """From a new address each time."""
    for number in range(attempts):
        sign_in(stranger(10 + number))


class TestAccounts:
    def test_an_attacked_account_costs_strangers_work_and_locks_nobody_out(self, limited: Settings, user: User) -> None:
        rates(limited, login_account="3/d")
        attack(3)
        client = stranger()
        refused = sign_in(client, PASSWORD)
        assert refused.status_code == 429
        assert "_auth_user_id" not in client.session
        assert sign_in(client, PASSWORD, proof=solve(challenge_of(refused))).status_code == 302

    def test_the_owners_device_is_not_held_up(self, limited: Settings, user: User) -> None:
        rates(limited, login="3/d", login_ip="5/d", login_account="3/d")
        browser = stranger()
        assert sign_in(browser, PASSWORD).status_code == 302
        browser.post("/accounts/logout")
        attack(6)
        for _ in range(6):
            sign_in(stranger())  # from the owner's own address, too
        assert sign_in(browser, PASSWORD).status_code == 302

    def test_a_known_device_is_known_to_its_own_account_alone(
        self, limited: Settings, user: User, other_user: User
    ) -> None:
        rates(limited, login_account="3/d")
        browser = stranger()
        sign_in(browser, "staple battery horse", "bob@example.org")
        browser.post("/accounts/logout")
        attack(3)
        assert sign_in(browser).status_code == 429

    def test_a_forged_device_is_a_stranger(self, limited: Settings, user: User) -> None:
        rates(limited, login_account="3/d")
        attack(3)
        client = stranger()
        client.cookies["quorum_device"] = "WyJhZGEiLCJ4Il0:1abc:forged"
        assert sign_in(client).status_code == 429

    def test_an_answer_is_good_once_and_for_its_account(self, limited: Settings, user: User, other_user: User) -> None:
        rates(limited, login_account="1/d")
        attack(1)
        sign_in(stranger(), email="bob@example.org")
        proof = solve(challenge_of(sign_in(stranger())))
        assert sign_in(stranger(), email="bob@example.org", proof=proof).status_code == 429
        assert sign_in(stranger(), proof=proof).status_code == 200  # the password is wrong
        assert sign_in(stranger(), PASSWORD, proof=proof).status_code == 429

    @pytest.mark.parametrize("spoil", [
        lambda answer: answer + "1",
        lambda answer: "0." + answer.partition(".")[2],
        lambda answer: "x" * 150,
        lambda answer: "",
    ])  # fmt: skip
    def test_a_spoilt_answer_is_none(self, limited: Settings, user: User, spoil: Any) -> None:
        rates(limited, login_account="1/d")
        attack(1)
        proof = solve(challenge_of(sign_in(stranger())))
        assert challenges.redeem("elsewhere", proof, 6) is False
        assert sign_in(stranger(), PASSWORD, proof=spoil(proof)).status_code == 429

    def test_an_old_answer_is_none(self, limited: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        proof = solve(challenges.issue("ada", 6))
        later = time.time() + challenges.GOOD_FOR_S + 1
        monkeypatch.setattr(time, "time", lambda: later)
        assert challenges.redeem("ada", proof, 6) is False

    def test_more_attempts_cost_more_up_to_a_bound(self, limited: Settings, user: User) -> None:
        rates(limited, login_account="1/d")
        attack(1)
        prices = [int(challenge_of(sign_in(stranger())).partition(".")[0]) for _ in range(9)]
        assert prices == [7, 7, 8, 8, 8, 8, 9, 9, 9]
        assert challenges.issue("ada", 99).startswith(f"{challenges.MAX_BITS}.")


class TestAddresses:
    def test_one_address_tries_many_accounts_in_vain(self, limited: Settings, user: User) -> None:
        rates(limited, login_ip="3/d")
        for number in range(3):
            sign_in(stranger(), email=f"{number}@example.org")
        refused = sign_in(stranger(), PASSWORD)
        assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
        assert sign_in(stranger(2), PASSWORD).status_code == 302

    def test_the_admin_has_a_throttle_of_its_own(self, limited: Settings, user: User) -> None:
        rates(limited, login_admin="2/d")
        answers = [sign_in(stranger(), email=f"{number}@example.org", path=ADMIN) for number in range(3)]
        assert b"Try again in" not in answers[1].content
        assert b"Try again in" in answers[2].content
        assert sign_in(stranger(), PASSWORD).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_of_500_parallel_attempts_exactly_as_many_as_allowed_are_looked_at(limited: Settings) -> None:
    User.objects.create_user("ada@example.org", PASSWORD)
    rates(limited, login="10/d")

    def attempt(_: int) -> int:
        try:
            return int(sign_in(stranger()).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(attempt, range(500)))
    assert (statuses.count(200), statuses.count(429)) == (10, 490)
    assert SignIn.objects.filter(succeeded=False).count() == 10


def test_the_page_does_the_work_as_the_server_wants_it(tmp_path: Path) -> None:
    """The script's own hash, run where a browser's engine is at hand; the whole page is tested in tests/e2e."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    texts = ["", "abc", "a" * 55, "a" * 56, "a" * 64, "é" * 100, *(challenges.issue("ada", 6) for _ in range(20))]
    module = (project.BASE_DIR / "static/js/sha256.js").as_uri()
    script = tmp_path / "bits.mjs"
    script.write_text(
        f"import {{ sha256, zeroBits }} from {module!r};\n"
        "for (const text of process.argv.slice(2)) console.log(zeroBits(sha256(text)), (sha256(text)[7] >>> 0));"
    )
    said = subprocess.run([node, str(script), *texts], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f"{challenges.zero_bits(text)} {_last_word(text)}" for text in texts]


def _last_word(text: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[-4:], "big")
