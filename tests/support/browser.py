"""A real Chromium for tests of the pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

# Fonts, updates and the like must not leave the machine; root may not use the sandbox.
ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, else Playwright's own. Skips when there is none, but fails in CI.

    Playwright's sync API runs an event loop in this thread, in which Django's ORM refuses to work: use it before or after.
    """
    expect.set_options(timeout=30_000)  # a page that waits for a worker on a busy machine is slow, not wrong
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if path is None and not Path(playwright.chromium.executable_path).exists():
            _without_browser("There is no Chromium: install one, or run `playwright install chromium`.")
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def _without_browser(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass
class Complaints:
    """What the browser had to say against a page: errors, warnings of its console, refusals of the security policy."""

    lines: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", self._error)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.lines.append(f"{message.type}: {message.text}")

    def _error(self, error: Error) -> None:
        self.lines.append(f"exception: {error}")
