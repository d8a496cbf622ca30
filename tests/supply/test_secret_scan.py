"""No secret is in the repository, and the scanner would see one. The samples are made here, so that the scan of this file finds none."""

from __future__ import annotations

import secrets
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from accounts import keyformat
from deploy.supply import ROOT, secret_scan

LETTERS = string.ascii_letters + string.digits


def word(length: int, of: str = LETTERS) -> str:
    """Random, with a digit and a letter for sure."""
    return "".join(secrets.choice(of) for _ in range(length - 2)) + "a7"


def pem() -> str:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


SAMPLES: dict[str, Callable[[], str]] = {
    "Quorum API key": lambda: f"Authorization: Bearer {keyformat.generate()}",
    "private key": pem,
    "AWS access key": lambda: "AKIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16)),
    "GitHub token": lambda: "ghp_" + word(36),
    "GitLab token": lambda: "glpat-" + word(20),
    "Slack token": lambda: "xoxb-" + word(40),
    "Stripe key": lambda: "sk_live_" + word(24),
    "Google API key": lambda: "AIza" + word(35),
    "model provider's key": lambda: "sk-ant-" + word(60),
    "Hugging Face token": lambda: "hf_" + word(34),
    "PyPI token": lambda: "pypi-AgEI" + word(60),
    "JSON Web Token": lambda: f"eyJ{word(20)}.eyJ{word(20)}.{word(40)}",
    "password in a URL": lambda: f"postgres://quorum:{word(24)}@db.example.org/quorum",
    "random word under a secret's name": lambda: f'SECRET_KEY = "{word(50)}"',
}


def test_no_secret_is_in_the_repository() -> None:
    assert [str(hit) for hit in secret_scan.scan_files(secret_scan.tracked())] == []


def test_every_rule_has_a_sample() -> None:
    assert set(SAMPLES) == {rule.name for rule in secret_scan.RULES}


@pytest.mark.parametrize("rule", SAMPLES)
def test_a_planted_secret_is_found_and_not_shown(rule: str, tmp_path: Path) -> None:
    sample = SAMPLES[rule]()
    (tmp_path / "notes.md").write_text(f"first line\n{sample}\n")
    hits = secret_scan.scan_files(["notes.md"], tmp_path)
    assert (rule, 2) in {(hit.rule, hit.line) for hit in hits}
    assert all(len(hit.shown) < 40 for hit in hits)


@pytest.mark.parametrize(
    "harmless",
    [
        "qk_" + "a" * 49,  # no checksum
        'password = "correct-horse-battery-staple-please"',
        'SECRET_KEY = env.secret("SECRET_KEY")',
        "postgres://user:password@127.0.0.1:5432/quorum",
        "token = some_function_with_a_long_name_2(argument)",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_what_only_looks_like_one_is_let_through(harmless: str) -> None:
    assert list(secret_scan.scan(harmless + "\n", "x")) == []


def test_a_secret_among_bytes_is_found(tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(b"\xff\xfe\x00" + f" ghp_{word(36)} ".encode() + b"\x80")
    assert [hit.rule for hit in secret_scan.scan_files(["image.bin"], tmp_path)] == ["GitHub token"]


@pytest.mark.parametrize(
    "name", [".env", ".env.production", "tls.key", "deploy/server.pem", "id_ed25519", "var/secrets.json", "D.log"]
)
def test_files_that_hold_secrets_are_not_taken_into_git(name: str) -> None:
    asked = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False)
    assert asked.returncode == 0


def test_nothing_that_is_ignored_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert listed.stdout == ""
