"""Whose turns are given back before their lease has run out: those of processes of this machine that have died, and no others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from accounts.models import User
from council import claims, services, sweeper, workers
from council.models import Turn
from council.recount import recount
from tests.support.councils import Convene, work


def died() -> str:
    """The name of a process that was a worker of this machine."""
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return workers.name().replace(f":{os.getpid()}", f":{process.pid}")


def test_of_this_process_it_is_known_that_it_lives_and_of_a_dead_one_that_it_does_not() -> None:
    assert not workers.has_died(workers.name())
    assert workers.has_died(died())


@pytest.mark.parametrize("change", [("", "another-"), ("pid:[", "pid:[9")])
def test_of_processes_elsewhere_nothing_is_known(change: tuple[str, str]) -> None:
    """On another machine, or in another container of this one."""
    dead = died()
    if change[0] not in dead:
        pytest.skip("processes are not told apart by namespace on this system")
    assert not workers.has_died(dead.replace(*change, 1))


@pytest.mark.parametrize("worker", ["", "test", "host:none"])
def test_a_name_that_says_nothing_is_nobodys_death(worker: str) -> None:
    assert not workers.has_died(worker)


@pytest.mark.django_db(transaction=True)
def test_a_sweep_gives_back_what_the_dead_held_and_leaves_the_living_alone(user: User, convene: Convene) -> None:
    dead = died()
    session = services.start(user, convene().pk)
    first, *others = session.turns.values_list("pk", flat=True)
    claims.claim(session.pk, [first], dead)
    claims.claim(session.pk, others, workers.name())
    assert sweeper.sweep()["leases"] == 1
    turn = Turn.objects.get(pk=first)
    assert (turn.status, turn.lease_token, turn.model_errors) == ("pending", None, 0)
    assert set(Turn.objects.filter(pk__in=others).values_list("status", flat=True)) == {"running"}
    Turn.objects.filter(pk__in=others).update(worker=dead)
    assert sweeper.sweep()["leases"] == len(others)
    assert recount(work(session))["agrees"]
