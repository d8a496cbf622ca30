"""Failpoints: where they are, what they do, and that nothing is on unless it is asked for twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.checks import run_checks

from realtime import failpoints
from realtime.failpoints import REGISTRY, FailpointError, armed, parse, refused

PROJECT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "config", "council", "knowledge", "realtime")
ON = {"allowed": True, "https": False}


def in_code() -> list[str]:
    files = [file for app in APPS for file in (PROJECT / app).rglob("*.py")]
    return [name for file in files for name in re.findall(r'\bfailpoint\("([^"]+)"\)', file.read_text())]


def test_every_point_is_registered_and_stands_in_the_code_once() -> None:
    assert sorted(in_code()) == sorted(REGISTRY)


def test_the_documentation_lists_every_point() -> None:
    page = (PROJECT / "docs" / "reliability.md").read_text()
    assert re.findall(r"^\| `([a-z]+\.[a-z_.]+)` \|", page, re.MULTILINE) == list(REGISTRY)
    assert [what for what in REGISTRY.values() if what not in page] == []


def test_nothing_is_on_in_these_tests() -> None:
    assert failpoints.failpoint is failpoints._off


@pytest.mark.parametrize(
    ("text", "allowed", "https", "why"),
    [
        ("", False, True, ""),
        ("nudge.wake=kill", True, False, ""),
        ("nudge.wake=kill", False, False, "QUORUM_ALLOW_FAILPOINTS"),
        ("nudge.wake=kill", True, True, "https"),
        ("nudge.woken=kill", True, False, "is no failpoint"),
        ("nudge.wake=kill:x", True, False, "write name=kill"),
        ("nudge.wake=sleep", True, False, "write name=kill"),
    ],
)
def test_what_is_refused_and_why(text: str, allowed: bool, https: bool, why: str) -> None:
    said = refused(text, allowed=allowed, https=https)
    assert why in said
    assert bool(said) == bool(why)
    assert (armed(text, allowed=allowed, https=https) is failpoints._off) == (bool(said) or not text)


def test_a_start_up_check_says_so(settings: LazySettings) -> None:
    settings.FAILPOINTS = "nudge.wake=kill"
    assert [message.id for message in run_checks()] == ["quorum.E014"]
    settings.ALLOW_FAILPOINTS = True
    assert run_checks() == []


def test_a_point_raises_at_its_hit_and_sleeps_at_each() -> None:
    point = armed("nudge.wake=raise:2; nudge.woke=sleep:0.02", **ON)
    point("nudge.wake")
    with pytest.raises(FailpointError, match=r"nudge\.wake"):
        point("nudge.wake")
    point("nudge.wake")
    began = time.perf_counter()
    point("nudge.woke")
    point("nudge.woke")
    assert time.perf_counter() - began >= 0.04


def test_settings_are_read_whole() -> None:
    assert parse(" nudge.wake=kill ;nudge.woke=sleep:0.5:3;") == {
        "nudge.wake": ("kill", 0.0, 1),
        "nudge.woke": ("sleep", 0.5, 3),
    }


def test_a_process_is_killed_where_it_stands() -> None:
    code = (
        "import django; django.setup()\n"
        "from realtime.failpoints import failpoint\n"
        "failpoint('nudge.wake'); print('once', flush=True); failpoint('nudge.wake'); print('twice', flush=True)"
    )
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "QUORUM_ALLOW_FAILPOINTS": "true",
        "QUORUM_FAILPOINTS": "nudge.wake=kill:2",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "once\n"), done.stderr
