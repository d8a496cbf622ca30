"""Recomputing a council from what is stored: answers, ballots, candidates and seeds. It must agree, or something was changed.

Three things are compared, run by run: every tally with a new count of its round; every field of the decision that follows from the
tallies, the answers and the recorded citations; and the rows with the event log, which is written once and never changed, so that
even a ballot whose change alters no figure is noticed. No model is asked: similarities of citations are recorded.

Records of earlier versions stay valid: fields and rules that a record was written before are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from council import counting, decisions, merges, serial, state
from council.deliberation import ending
from council.deliberation.protocol import final_tally, flips, next_step
from council.deliberation.types import HUMAN, Conclude, RoundState, Rule, RunState, Stage, Tally
from council.models import Ballot, CouncilSession, Decision, Round, Run, Seat, SessionEvent, Turn
from council.selectors import latest_decision
from council.states import TurnStatus
from realtime.errors import IllegalState, InvalidInput

Json = dict[str, Any]


def recount(session: CouncilSession, rule: Rule | None = None) -> Json:
    """``{agrees, decision, differences: [{run, round?, seat?, field, stored, recomputed}], people}`` over every run that has a
    decision; ``people`` names the seats that were people's.

    With a ``rule``, also ``other_rule: {rule, winner, option, text, decided_by, margin, too_close, same}``: what that rule would
    have made of the ballots that decided the latest run. Nothing stored is touched.
    Raises ``IllegalState`` when nothing has been decided.
    """
    decision = latest_decision(session)
    if decision is None:
        raise IllegalState("Nothing has been decided yet.", code="no_decision")
    log = _Log(session)
    differences: list[Json] = []
    for run in Run.objects.filter(session=session, decision__isnull=False).order_by("number"):
        differences += _of_run(session, run, log)
    found: Json = {"agrees": not differences, "decision": serial.decision(decision), "differences": differences}
    people = Seat.objects.filter(session=session, model=HUMAN).order_by("position")
    found["people"] = list(people.values_list("name", flat=True))
    if rule is not None:
        found["other_rule"] = under(rule, state.load(decision.run_id))
    return found


def rule_named(name: str | None) -> Rule | None:
    """Raises ``InvalidInput`` for a name that is no rule's."""
    if name is None:
        return None
    if name not in list(Rule):
        detail = f"rule is one of {', '.join(Rule)}."
        raise InvalidInput(detail, code="bad_rule", errors=[{"pointer": "/rule", "detail": detail}])
    return Rule(name)


def under(rule: Rule, run: RunState) -> Json:
    """What ``rule`` makes of the count that decided a run. ``same``: it elects the same candidate, or likewise nobody."""
    decided = final_tally(run)
    number = next((round_.number for round_ in reversed(run.rounds) if round_.tally is decided), None)
    if decided is None or number is None:
        raise IllegalState("No vote was counted.", code="no_tally")
    # Without its tally the round is counted as a new one: an old record may not know the rule.
    rounds = tuple(one.model_copy(update={"tally": None}) if one.number == number else one for one in run.rounds)
    protocol = run.protocol.model_copy(update={"rule": rule})
    other = run.model_copy(update={"protocol": protocol, "rounds": rounds})
    tally = counting.count(other, number, decided.merging)
    winner = tally.winning
    return {
        "rule": rule.value,
        "winner": tally.winner,
        "option": winner.option if winner else None,
        "text": winner.text if winner else None,
        "decided_by": tally.decided_by,
        "margin": tally.margin,
        "too_close": tally.too_close,
        "same": tally.winner == decided.winner,
    }


def _of_run(session: CouncilSession, run: Run, log: _Log) -> list[Json]:
    found = list(log.differs(run))
    try:
        loaded = state.load(run.pk)
    except ValidationError as error:
        found.append({"field": "record", "stored": None, "recomputed": f"cannot be read: {error}"})
    else:
        found += [*_of_tallies(loaded), *_of_ballots(run, loaded), *_of_decision(session, run, loaded)]
    return [{"run": run.number, **difference} for difference in found]


def _compare(stored: Json, again: Json, **where: Any) -> Iterator[Json]:
    for name in stored:
        if stored[name] != again.get(name):
            yield {**where, "field": name, "stored": stored[name], "recomputed": again.get(name)}


# --- tallies ----------------------------------------------------------------------------------------------------------


def _of_tallies(run: RunState) -> Iterator[Json]:
    for round_ in run.rounds:
        stored = round_.tally
        if stored is None:
            continue
        try:
            again = _as_then(stored, counting.count(run, round_.number, stored.merging))
        except ValueError as error:  # a ballot or a position that could never have been cast
            refusal = f"cannot be counted: {error}"
            yield {"round": round_.number, "field": "tally", "stored": stored.winner, "recomputed": refusal}
        else:
            yield from _compare(_written(stored, stored), _written(stored, again), round=round_.number)


def _as_then(stored: Tally, again: Tally) -> Tally:
    """The new count as the version that wrote the record would have stored it: without the rules that came later, which also
    had no part in calling it close."""
    if not stored.rules.keys() < again.rules.keys():
        return again
    rules = {name: again.rules[name] for name in stored.rules}
    elected = [set(result.winners) for result in rules.values() if result.winners]
    elected += [{again.winner}] if again.winner is not None else []
    disagree = bool(elected) and not set.intersection(*elected)
    close = again.margin == 1 or again.decided_by == "seed" or disagree
    return again.model_copy(update={"rules": rules, "too_close": close})


def _written(stored: Any, value: Any) -> Any:
    """``value`` as plain data, without the fields that the record ``stored`` was written before."""
    if isinstance(stored, BaseModel) and isinstance(value, BaseModel):
        return {name: _written(getattr(stored, name), getattr(value, name)) for name in sorted(stored.model_fields_set)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        known = stored if isinstance(stored, Mapping) else {}
        return {key: _written(known.get(key), one) for key, one in value.items()}
    if isinstance(value, tuple):
        same = isinstance(stored, tuple) and len(stored) == len(value)
        return [_written(before, one) for before, one in zip(stored if same else value, value, strict=True)]
    return value


# --- ballots ----------------------------------------------------------------------------------------------------------


def _of_ballots(run: Run, loaded: RunState) -> Iterator[Json]:
    """The order in which each voter read the candidates follows from the seed. What a fork has copied was read at another table: there
    the log alone speaks for it."""
    copied = (run.origin or {}).get("kept", 0)
    for round_ in loaded.rounds:
        if round_.stage != Stage.BALLOT or round_.number <= copied:
            continue
        orders = _orders(loaded, round_)
        cast = Ballot.objects.filter(round__run=run, round__number=round_.number).order_by("seat__position")
        for seat, order in cast.values_list("seat_id", "order"):
            again = list(orders.get(str(seat), ()))
            yield from _compare({"order": order}, {"order": again}, round=round_.number, seat=str(seat))


def _orders(loaded: RunState, round_: RoundState) -> Mapping[str, tuple[str, ...]]:
    asked = [turn.seat for turn in round_.turns if turn.kind == "ballot" and turn.seat]
    return counting.presented(loaded, asked, round_.number)[1]


# --- the decision -----------------------------------------------------------------------------------------------------


def _of_decision(session: CouncilSession, run: Run, loaded: RunState) -> Iterator[Json]:
    stored: Decision = run.decision
    first = merges.first_counted(session, run, loaded)
    ended = isinstance(next_step(first), Conclude)
    replaced = merges.outdated(session, run, loaded)
    computed = decisions.computed_fields(loaded)
    done = decisions.completed_turns(run)
    written = decisions.write_up(session, loaded, done, replaced)
    again: Json = {
        **computed,
        "rules": {name: computed["rules"].get(name) for name in stored.rules},
        "outcome": (ending.conclude(loaded).outcome or "") if ended else "",
        "dissent": [_report(one) for one in decisions.dissent(session, loaded, done)],
        "flips": [[flip.seat, flip.before, flip.after] for flip in flips(loaded)],
        "answer": written.answer,
        "source": written.source,
        "citations": [_checked(decisions.citation_row(stored, check)) for check in written.citations],
        "ratification": decisions.ratification_of(loaded, replaced),
    }
    kept: Json = {
        **{name: getattr(stored, name) for name in (*computed, "outcome", "answer", "source")},
        "agreement": {name: value for name, value in stored.agreement.items() if name in computed["agreement"]},
        "dissent": [_report(one) for one in stored.dissent],
        "flips": [[item["seat"], item["before"], item["after"]] for item in stored.flips],
        "citations": [_checked(citation) for citation in stored.citations.all()],
        "ratification": stored.ratification,
    }
    again["agreement"] = {name: computed["agreement"][name] for name in kept["agreement"]}
    yield from _compare(kept, again)


def _report(dissent: Json) -> Json:
    return {name: dissent[name] for name in ("seat", "option", "text", "written")}


def _checked(row: Any) -> Json:
    names = ("n", "start", "end", "quote", "quote_hash", "status", "similarity")
    return {"revision": str(row.revision_id or ""), **{name: getattr(row, name) for name in names}}


# --- the log ----------------------------------------------------------------------------------------------------------


class _Log:
    """What the event log says of ballots, tallies and what seats said; the last word on each counts."""

    def __init__(self, session: CouncilSession) -> None:
        kinds = ["round.closed", "tally.computed", "turn.completed"]
        told = SessionEvent.objects.filter(stream=session, type__in=kinds).order_by("seq")
        self._told: dict[tuple[Any, ...], Json] = {}
        for kind, data in told.values_list("type", "payload"):
            self._told[kind, data["run"], data["round"], data.get("turn")] = data
            for turn in data.get("turns", ()):  # sealed until the round was closed
                self._told["turn.completed", turn["run"], turn["round"], turn["turn"]] = turn

    def differs(self, run: Run) -> Iterator[Json]:
        for round_ in Round.objects.filter(run=run).order_by("number"):
            closed = self._told.get(("round.closed", run.number, round_.number, None))
            if closed is not None:
                yield from _papers(round_, closed["ballots"])
            counted = self._told.get(("tally.computed", run.number, round_.number, None))
            if counted is not None:
                yield from _compare(counted["tally"], round_.tally or {}, round=round_.number)
            yield from self._turns(run, round_)

    def _turns(self, run: Run, round_: Round) -> Iterator[Json]:
        rows = Turn.objects.filter(round=round_, status=TurnStatus.COMPLETED).exclude(kind__in=["ballot", "tally"])
        for turn in rows.order_by("id"):
            told = self._told.get(("turn.completed", run.number, round_.number, str(turn.pk)))
            if told is not None and told["result"] != turn.result:
                yield {
                    "round": round_.number,
                    "seat": str(turn.seat_id),
                    "field": f"{turn.kind} as logged",
                    "stored": turn.result,
                    "recomputed": told["result"],
                }


def _papers(round_: Round, logged: Iterable[Json]) -> Iterator[Json]:
    """Each ballot with the one that was opened when its round closed; a missing and an added one differ as well."""
    stored = {ballot["seat"]: ballot for ballot in serial.ballots(round_.pk)}
    opened = {ballot["seat"]: ballot for ballot in logged}
    for seat in sorted({*stored, *opened}):
        if stored.get(seat) != opened.get(seat):
            yield {
                "round": round_.number,
                "seat": seat,
                "field": "ballot as logged",
                "stored": stored.get(seat),
                "recomputed": opened.get(seat),
            }
