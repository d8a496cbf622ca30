"""Looks for secrets in what git tracks.

    python -m deploy.supply.secret_scan [FILE ...]      exit 1 if a file holds one

Each rule knows a form that is a secret by its shape: API keys of ours with a valid checksum, private keys, tokens of the usual
providers, passwords in URLs, and long random words assigned to a name such as `SECRET_KEY`. What is found is never printed whole.
A known false alarm is excused in policy.toml, by file and rule, with a reason.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts.keyformat import is_well_formed

from . import ROOT, licences

LARGEST = 5_000_000  # bytes; larger files are data
BITS_PER_CHARACTER = 3.5  # a random word of 24 or more characters has more; sentences, names and paths have less


@dataclass(frozen=True)
class Rule:
    name: str
    form: re.Pattern[str]  # its first group is the secret
    is_secret: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True)
class Hit:
    file: str
    line: int
    rule: str
    shown: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.shown}"


def entropy(text: str) -> float:
    """Shannon's, in bits per character, of the characters' own frequencies."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values()) if text else 0.0


def _random(word: str) -> bool:
    return entropy(word) >= BITS_PER_CHARACTER and bool(re.search(r"\d", word)) and bool(re.search(r"[A-Za-z]", word))


RULES = (
    Rule("Quorum API key", re.compile(r"(?<![0-9A-Za-z_-])(qk_[0-9A-Za-z_-]{43,49})(?![0-9A-Za-z_-])"), is_well_formed),
    Rule("private key", re.compile(r"(-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*\\?n?\s*[A-Za-z0-9+/=]{16})")),
    Rule("AWS access key", re.compile(r"(?<![A-Z0-9])((?:AKIA|ASIA)[A-Z2-7]{16})(?![A-Z0-9])")),
    Rule("GitHub token", re.compile(r"\b(gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{60,})")),
    Rule("GitLab token", re.compile(r"\b(glpat-[0-9A-Za-z_-]{20,})")),
    Rule("Slack token", re.compile(r"\b(xox[abprs]-[0-9A-Za-z-]{20,})")),
    Rule("Stripe key", re.compile(r"\b([rs]k_live_[0-9A-Za-z]{20,})")),
    Rule("Google API key", re.compile(r"\b(AIza[0-9A-Za-z_-]{35})(?![0-9A-Za-z_-])")),
    Rule("model provider's key", re.compile(r"\b(sk-(?:ant-|proj-)?[0-9A-Za-z_-]{32,})"), _random),
    Rule("Hugging Face token", re.compile(r"\b(hf_[0-9A-Za-z]{30,})"), _random),
    Rule("PyPI token", re.compile(r"\b(pypi-AgEI[0-9A-Za-z_-]{50,})")),
    Rule("JSON Web Token", re.compile(r"\b(eyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{20,})")),
    Rule("password in a URL", re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@'\"]{1,40}:([^\s:/@'\"{}$<%*]{8,})@"), _random),
    Rule(
        "random word under a secret's name",
        re.compile(
            r"(?i)(?:secret|passw(?:or)?d|token|api_?key|private_?key)[a-z_]*[\"']?\s*[:=]\s*[\"']?([0-9A-Za-z+/_-]{24,}={0,2})[\"'\s]"
        ),
        _random,
    ),
)


def scan(text: str, file: str) -> Iterator[Hit]:
    for rule in RULES:
        for found in rule.form.finditer(text):
            if rule.is_secret(found[1]):
                line = text.count("\n", 0, found.start(1)) + 1
                yield Hit(file, line, rule.name, f"{found[1][:6]}… ({len(found[1])} characters)")


def scan_files(names: Iterable[str], root: Path = ROOT) -> list[Hit]:
    """The secrets in these files, without what the policy excuses. Bytes that are no UTF-8 are read as Latin-1: all are looked at."""
    excused = {(one["file"], one["rule"]) for one in _excused()}
    hits: list[Hit] = []
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            continue
        raw = path.read_bytes()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        hits += [hit for hit in scan(text, name) if (hit.file, hit.rule) not in excused]
    return hits


def tracked(root: Path = ROOT) -> list[str]:
    """What git tracks, and what it would with the next `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout  # noqa: S603  # our own words
    return sorted({name for name in listed.split("\0") if name})


def _excused() -> list[dict[str, Any]]:
    return list(licences.policy().get("no_secret", []))


def main(arguments: list[str]) -> int:
    names = arguments or tracked()
    hits = scan_files(names)
    for hit in hits:
        print(hit, file=sys.stderr)
    print(f"secrets: {len(names)} files, {len(hits)} found")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
