"""Tallies and opened ballots as the page shows them. ``static/js/counting.js`` does the same."""

from __future__ import annotations

from typing import Any

from council.pages import wording

Json = dict[str, Any]


def labels(rounds: list[Json]) -> dict[str, str]:
    """Short names of everything that was counted in a run: an option's text, else the id ("A1")."""
    counted = [candidate for round_ in rounds if round_["tally"] for candidate in round_["tally"]["candidates"]]
    return {candidate["id"]: label(candidate) for candidate in counted}


def label(candidate: Json) -> str:
    return candidate["option"] or str(candidate["id"]).upper()


def count(round_: Json, rounds: list[Json], names: dict[str, str]) -> Json:
    """One round's count. Ballots are empty until the round has closed: the snapshot holds nothing of them before."""
    tally = round_["tally"]
    known = ballot_labels(round_, rounds)
    places = max((len(ballot["ranking"]) for ballot in round_["ballots"]), default=0)
    return {
        "key": f"{round_['run']}.{round_['round']}",
        "title": wording.COUNT.get(round_["stage"], wording.STAGE[round_["stage"]]),
        "sealed": sealed(round_) if round_["closed_at"] is None else "",
        "summary": summary(tally) if tally else "",
        "candidates": [holding(candidate, tally, names) for candidate in tally["candidates"]] if tally else [],
        "width": max(1, places),
        "place_names": [f"Place {at}" for at in range(1, places + 1)],
        "ballots": [show_ballot(ballot, places, known, names) for ballot in round_["ballots"]],
    }


def sealed(round_: Json) -> str:
    if round_["stage"] != "ballot":
        return ""
    cast = sum(turn["kind"] == "ballot" and turn["status"] == "completed" for turn in round_["turns"])
    return f"{cast} of {len(round_['asked'])} ballots are cast. They stay sealed until the round closes."


def summary(tally: Json) -> str:
    share = wording.percent(tally["agreement"]["modal_share"])
    close = " Too close to call." if tally["too_close"] else ""
    return f"The most common position is held by {share} of the seats.{close}"


def holding(candidate: Json, tally: Json, names: dict[str, str]) -> Json:
    seats = candidate["seats"]
    total = len(tally["agreement"]["positions"])
    return {
        "id": candidate["id"],
        "label": label(candidate),
        "text": "" if candidate["option"] else candidate["text"],
        "held": len(seats),
        "of": total,
        "names": ", ".join(names.get(seat, "?") for seat in seats) or "nobody",
        "won": tally["winner"] == candidate["id"],
    }


def ballot_labels(round_: Json, rounds: list[Json]) -> dict[str, str]:
    """Names of what stood on the ballots. Open ballots rank single texts ("t2"); without a debate text n is candidate n."""
    if round_.get("texts"):
        return {text["id"]: label(text) for text in round_["texts"]}
    known = labels(rounds)
    debated = any(one["stage"] == "debate" for one in rounds)
    paired = {} if debated else {f"t{one[1:]}": name for one, name in known.items() if one.startswith("a")}
    return known | paired


def show_ballot(ballot: Json, places: int, known: dict[str, str], names: dict[str, str]) -> Json:
    scores, ranking = ballot["scores"], ballot["ranking"]
    return {
        "name": names.get(ballot["seat"], "?"),
        "abstain": ballot["abstain"],
        "cells": [known.get(one, one.upper()) for one in ranking] + [""] * (places - len(ranking)),
        "scores": ", ".join(f"{known.get(one, one.upper())}: {scores[one]}" for one in sorted(scores)),
    }
