"""Every locked package has a licence that was allowed on purpose."""

from __future__ import annotations

from importlib import metadata

import pytest

from deploy.supply import licences, lock
from deploy.supply.licences import Licence


def some(name: str = "some", version: str = "1") -> lock.Locked:
    return lock.Locked(name, version, hashes=["0" * 64])


def test_all_are_known_and_allowed() -> None:
    assert licences.problems(lock.everything()) == []


def test_the_page_is_up_to_date() -> None:
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page()


def test_no_gpl_runs_in_the_product() -> None:
    """Of the GNU licences the LGPL alone, of psycopg alone."""
    gnu = {one.name: licences.of(one).expression for one in lock.product() if "GPL" in licences.of(one).expression}
    assert gnu == dict.fromkeys(("psycopg", "psycopg-binary", "psycopg-pool"), "LGPL-3.0-only")


def test_what_is_bundled_has_an_allowed_licence_too() -> None:
    assert {one["licence"] for one in licences.policy()["bundled"]} <= set(licences.policy()["licences"]["allowed"])


def test_a_new_package_is_a_problem() -> None:
    (wrong,) = licences.problems([*lock.everything(), some("a-package-nobody-has")])
    assert wrong.startswith("a-package-nobody-has 1: no licence known")


def test_an_entry_of_the_policy_that_nothing_needs_is_a_problem() -> None:
    left = [one for one in lock.everything() if one.name != "psycopg-pool"]
    assert licences.problems(left) == ["psycopg-pool: in deploy/supply/policy.toml, but no longer locked"]


@pytest.mark.parametrize(
    "expression", ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND GPL-2.0-only", "SSPL-1.0", "LGPL-3.0-only", "Mine", ""]
)
def test_what_is_not_on_the_list_is_not_acceptable(expression: str) -> None:
    assert licences.why(Licence(some(), expression, "")) == ""


@pytest.mark.parametrize("expression", ["MIT", "GPL-2.0-only OR MIT", "MIT AND (GPL-2.0-only OR BSD-3-Clause)"])
def test_one_of_a_choice_is_enough(expression: str) -> None:
    assert licences.why(Licence(some(), expression, "")) != ""


def test_an_exception_holds_for_its_package_and_licence_alone() -> None:
    assert licences.why(Licence(some("psycopg"), "LGPL-3.0-only", "")).startswith("LGPL")
    assert licences.why(Licence(some("psycopg"), "AGPL-3.0-only", "")) == ""


def test_what_runs_here_is_what_is_locked() -> None:
    """Otherwise the licences that were read are those of other versions."""
    here = {
        str(one.metadata["Name"]).lower().replace("_", "-").replace(".", "-"): one.version
        for one in metadata.distributions()
    }
    versions: dict[str, set[str]] = {}
    for one in lock.everything():
        versions.setdefault(one.name, set()).add(one.version)
    assert {name: here[name] for name in versions if name in here and here[name] not in versions[name]} == {}
