"""What tells that a text has run in a browser: calls, requests, dialogs, the console, refusals of the policy, attributes that act."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, Route

# In every frame of every page, before anything else.
WATCH = """
window.__q = (n) => console.error(`qcanary ran ${n}`);
document.addEventListener("securitypolicyviolation", (e) =>
  console.error(`qcanary policy ${e.effectiveDirective} ${e.blockedURI} ${e.sample}`));
"""
# Of what a click would do: an attribute that acts, or an address that is none of http's. And elements that only markup of others makes.
LOOK = """
() => [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes].flatMap(({ name, value }) => {
  const text = /__q|qcanary/.test(name) ? "name" : /__q|qcanary/.test(value) ? "value" : "";
  if (!text) return [];
  const acts = text === "name" || /^(on|x-|hx-|data-hx|@|:|style|srcdoc)/.test(name);
  const url = ["href", "src", "action", "formaction", "data", "srcset", "poster", "xlink:href"].includes(name);
  const there = url && URL.canParse(value, location.href) && new URL(value, location.href);
  const away = there && (!/^https?:$/.test(there.protocol) || there.host === "127.0.0.1:9");
  return acts || away ? [`${element.localName} ${name}=${value}`.slice(0, 200)] : [];
}))
"""
_RAN = re.compile(r"qcanary ran (\d+)")
_ASKED = re.compile(r"127\.0\.0\.1:9/qcanary/?(\d*)")


@dataclass
class Canary:
    """``ran``: numbers of payloads that ran or asked for the beacon. ``said``: everything else that should not have happened."""

    ran: set[int] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.add_init_script(WATCH)
        context.route(re.compile(r"127\.0\.0\.1:9/"), self._stopped)
        context.on("request", self._asked)
        context.on("console", self._heard)
        context.on("dialog", self._dialog)
        context.on("page", lambda page: page.on("pageerror", lambda error: self.said.append(f"exception: {error}")))

    def look(self, page: Page) -> None:
        """At the page as it is drawn now."""
        self.said += [f"{page.url}: {one}" for one in page.evaluate(LOOK)]

    def _stopped(self, route: Route) -> None:
        route.abort()

    def _asked(self, request: Request) -> None:
        if found := _ASKED.search(request.url):
            self.ran.add(int(found[1] or 0))

    def _heard(self, message: ConsoleMessage) -> None:
        if found := _RAN.search(message.text):
            self.ran.add(int(found[1]))
        elif re.search(r"qcanary|Content Security Policy|Refused to", message.text):
            where = message.page.url if message.page else ""
            self.said.append(f"{where}: {message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()
