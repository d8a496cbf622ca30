"""The locks: exact, hashed, and without a word about where they were made."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.supply import ROOT, lock

LOCKS = [*lock.PRODUCT, *lock.TOOLS]
SHA = "0" * 64


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    assert all(package.hashes for package in lock.parse((ROOT / name).read_text()))


@pytest.mark.parametrize("name", LOCKS)
def test_no_lock_names_a_host_or_a_folder(name: str) -> None:
    assert not re.search(r"://|file:|--(?:extra-)?index-url|--find-links|^/", (ROOT / name).read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_everything_that_is_asked_for_is_locked(name: str) -> None:
    wanted = [line.split("#")[0].strip() for line in (ROOT / name.replace(".txt", ".in")).read_text().splitlines()]
    names = {str(canonicalize_name(Requirement(line).name)) for line in wanted if line and not line.startswith("-")}
    locked = lock.parse((ROOT / name).read_text())
    assert {package.name for package in locked if package.direct} == names


def test_tools_and_product_agree_on_what_they_share() -> None:
    product = {(one.name, one.version, *one.hashes) for one in lock.product()}
    names = {one.name for one in lock.product()}
    tools = [one for one in lock.read(lock.TOOLS) if one.name in names]
    assert tools
    assert all((one.name, one.version, *one.hashes) in product for one in tools)


@pytest.mark.parametrize(
    "line",
    [
        f"django>=5 --hash=sha256:{SHA}",
        "django>=5.2",
        "django==5.2.*,!=5.2.3",
        "django @ ./django.whl",
        "-e .",
        "django==5.2.19",
        "django==5.2.19 \\\n    --hash=md5:abc",
    ],
)
def test_what_is_no_hashed_pin_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        lock.parse(line + "\n")


def test_a_pin_is_read_with_marker_hashes_and_parents() -> None:
    text = f"Foo.Bar==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{SHA}\n    # via\n    #   -r requirements.in\n    #   baz\n"
    (one,) = lock.parse(text)
    assert (one.name, one.version, one.marker, one.hashes) == ("foo-bar", "1.0", 'sys_platform == "win32"', [SHA])
    assert one.wanted_by == ["-r requirements.in", "baz"]
    assert one.direct
