import cProfile, pstats, time, pytest
from council import runner, services, claims, orchestrator, state, counting, context
from council.models import Turn, Run
from django.db import connection
from tests.support.councils import pending
pytestmark = pytest.mark.django_db(transaction=True)
T={}
def timed(mod,name):
    f=getattr(mod,name)
    def w(*a,**k):
        t=time.thread_time(); 
        try: return f(*a,**k)
        finally: T.setdefault(name,[]).append((time.thread_time()-t)*1000)
    setattr(mod,name,w)
def go(session,user):
    t=time.thread_time(); services.start(user, session.pk); T.setdefault("start",[]).append((time.thread_time()-t)*1000)
    while True:
        ts=pending(session)
        if not ts: break
        for t in ts:
            t0=time.thread_time()
            (runner.run_tally if t.kind=="tally" else runner.run_turn)(str(t.pk),"x")
            T.setdefault("run "+t.kind,[]).append((time.thread_time()-t0)*1000)
def test_prof(user, convene):
    M=("fake-option-1","fake-option-2","fake-option-3","fake-option-1","fake")
    for _ in range(3): go(convene(M),user)
    for m,n in [(claims,"claim"),(orchestrator,"finish"),(orchestrator,"finish_tally"),(orchestrator,"advance"),(state,"load"),(runner,"count"),(context,"prepare"),(runner.Conversation,"_open"),(orchestrator.log,"append"),(orchestrator,"_complete"),(orchestrator,"_advance_run"),(claims,"lock_held"),(runner.dialogues,"start"),(runner.client,"submit"),(orchestrator.steps,"_insert"),(orchestrator.steps,"_open_round"),(orchestrator.steps,"_close"),(orchestrator.steps,"_conclude"),(orchestrator.steps.decisions,"record"),(orchestrator,"next_step"),(orchestrator.turns.nudge,"send_task"),(orchestrator.log.nudge,"wake"),(orchestrator,"load"),(orchestrator.steps,"apply")]: timed(m,n)
    T.clear()
    for _ in range(5): go(convene(M),user)
    for k,v in T.items(): print(f"{k:16} n={len(v)/5:5.1f} mean={sum(v)/len(v):7.2f} per council={sum(v)/5:7.1f}")
