import dataclasses
from pathlib import Path
import pytest
from council import services
from knowledge.demo.loader import load_packs
from knowledge.services import add_entries, create_pack
from tests.support.browser import chromium, Complaints
from tests.support.stack import LiveStack

@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(400)
def test_shots(tmp_path, user, settings):
    from django.conf import global_settings
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    user.set_password("correct horse battery")
    out = Path("/tmp/shots"); user.is_staff = user.is_superuser = True; user.save()
    demo = load_packs()[1]
    pack = create_pack(user, name=demo.title, description=demo.description, tags=list(demo.tags))
    add_entries(pack, user, [dict(title=e.title, content=e.content, tags=list(e.tags), metadata=dict(e.metadata), external_id=e.external_id) for e in demo.entries])
    agents=[{"name":"Treasurer","role":"Follows the money","model":"fake"},{"name":"Planner","role":"Follows the traffic","model":"fake-slow"},{"name":"Advocate","role":"Follows the passengers","model":"fake-400"},{"name":"Driver","role":"Drives","model":"fake"}]
    s = services.create_session(user, services.Plan(question=demo.question, agents=agents, packs=[pack.pk], protocol={"preset":"debate"}))
    with LiveStack(tmp_path, model="fake", env={"DJANGO_SETTINGS_MODULE":"h9settings","PYTHONPATH":"/tmp"}) as stack, chromium() as browser:
        comp = Complaints()
        c = browser.new_context(base_url=stack.url, viewport={"width":1280,"height":900}); n = browser.new_context(base_url=stack.url, viewport={"width":390,"height":900})
        for x in (c,n):
            p=x.new_page(); p.goto("/accounts/login"); p.fill("#id_username","ada@example.org"); p.fill("#id_password","correct horse battery"); p.click("main button"); p.wait_for_url(stack.url+"/"); p.close()
        p=c.new_page(); comp.watch(p); p.goto(f"/councils/{s.pk}"); p.screenshot(path=str(out/"draft.png")); p.get_by_role("button", name="Start").click(); p.wait_for_timeout(3000); p.screenshot(path=str(out/"started.png"), full_page=True); print("S", p.inner_text(".status"), p.inner_text("#problem"))
        p.wait_for_selector(".seat.failed"); p.screenshot(path=str(out/"failing.png"), full_page=True)
        p.wait_for_selector(".decision", timeout=90000); p.wait_for_timeout(500)
        p.click(".decision .rules summary"); p.wait_for_timeout(300); p.screenshot(path=str(out/"open.png"), full_page=True)
        q=n.new_page(); q.goto("/"); q.screenshot(path=str(out/"home390.png")); q.goto("/accounts/keys"); q.screenshot(path=str(out/"keys390.png"))
        for name, path in [("admin-session", f"/admin/council/councilsession/{s.pk}/change/"),("admin-template","/admin/council/counciltemplate/add/"),("admin-calls","/admin/council/llmcall/")]:
            a=c.new_page(); comp.watch(a); a.goto(path); a.wait_for_timeout(600); a.screenshot(path=str(out/f"{name}.png"), full_page=True); print(name, a.evaluate("document.documentElement.scrollWidth")); a.close()
        p.goto("/accounts/keys"); p.screenshot(path=str(out/"keys.png"))
        print("COMPLAINTS", comp.lines)
