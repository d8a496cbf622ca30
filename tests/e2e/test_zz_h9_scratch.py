"""Scratch: screenshots of every page."""
import os, sys
from pathlib import Path
import pytest
from accounts.models import User
from knowledge.demo.loader import load_packs
from knowledge.services import add_entries, create_pack
from council.demo.loader import load_templates
from council.templates import save_template
import dataclasses
from tests.support.browser import chromium, Complaints
from tests.support.stack import LiveStack

@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(400)
def test_shots(tmp_path, user):
    out = Path("/tmp/shots"); out.mkdir(exist_ok=True)
    user.is_staff = user.is_superuser = True; user.save()
    with LiveStack(tmp_path, model="fake-slow") as stack, chromium() as browser:
        packs = {}
        for demo in load_packs():
            pack = create_pack(user, name=demo.title, description=demo.description, tags=list(demo.tags))
            add_entries(pack, user, [dict(title=e.title, content=e.content, tags=list(e.tags), metadata=dict(e.metadata), external_id=e.external_id) for e in demo.entries])
            packs[demo.slug] = pack
        for t in load_templates():
            save_template(None, slug=t.slug, agents=[{k:v for k,v in dataclasses.asdict(a).items()} for a in t.agents], packs=[packs[t.pack]], protocol=dict(t.protocol), options=list(t.options), title=t.title, description=t.description, question=t.question)
        complaints = Complaints()
        ctx = {}
        for scheme in ("light","dark"):
            for width in (1280,390):
                c = browser.new_context(base_url=stack.url, color_scheme=scheme, viewport={"width":width,"height":900})
                ctx[scheme,width]=c
        first = ctx["light",1280].new_page(); complaints.watch(first)
        first.goto("/")
        def shots(name, url):
            for (scheme,width),c in ctx.items():
                p = c.new_page(); complaints.watch(p)
                p.goto(url); p.wait_for_timeout(500)
                wide = p.evaluate("document.documentElement.scrollWidth")
                if wide > width: print("OVERFLOW", name, width, wide)
                p.screenshot(path=str(out/f"{name}-{scheme}-{width}.png"), full_page=True); p.close()
        shots("login","/accounts/login")
        for c in ctx.values():
            p=c.new_page(); p.goto("/accounts/login"); p.fill("#id_username","ada@example.org"); p.fill("#id_password","correct horse battery"); p.click("main button"); p.wait_for_timeout(1500); print("AFTER", p.url, p.inner_text("main")[:300]); p.close()
        first.goto("/councils/new?template=work-week-council")
        first.wait_for_timeout(300)
        shots("new","/councils/new?template=work-week-council")
        first.click("text=Create and start")
        first.wait_for_selector(".seat.writing")
        url = first.url
        first.wait_for_timeout(2500)
        first.screenshot(path=str(out/"live-light-1280.png"), full_page=True)
        shots("live2", url)
        first.wait_for_selector(".decision", timeout=120000)
        first.wait_for_timeout(1000)
        first.click(".decision .source summary")
        first.click(".decision .rules summary")
        first.wait_for_timeout(300)
        first.screenshot(path=str(out/"done-light-1280.png"), full_page=True)
        shots("done", url)
        shots("home","/")
        pid = packs["four-day-week"].pk
        shots("pack", f"/packs/{pid}?q=customer coverage")
        shots("packnew","/packs/new")
        shots("keys","/accounts/keys")
        shots("404","/nowhere")
        first.goto(first.url)
        link = first.eval_on_selector_all(".source a", "els => els.map(e => e.getAttribute('href'))")
        print("LINKS", link[:3])
        if link: shots("entry", link[0])
        print("COMPLAINTS", *complaints.lines, sep="\n  ")
        adm = Complaints()
        for name, path in [("admin","/admin/"),("admin-sessions","/admin/council/councilsession/"),("admin-session", f"/admin/council/councilsession/{url.rsplit('/',1)[1]}/change/"),("admin-templates","/admin/council/counciltemplate/")]:
            p = ctx["light",1280].new_page(); adm.watch(p); p.goto(path); p.wait_for_timeout(500); p.screenshot(path=str(out/f"{name}.png"), full_page=True); p.close()
        print("ADMIN", *sorted(set(adm.lines))[:20], sep="\n  ")
        for n in ("web","turns","control","index","beat"):
            log = stack.log(n); print("==", n, log[-600:] if "ERROR" in log or "Traceback" in log else "ok")
