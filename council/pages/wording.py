"""What the pages call things. The tables go to the browser as they stand (``tables``), so that there is one wording."""

from __future__ import annotations

from typing import Any

STATUS = {
    "draft": "Draft",
    "running": "In session",
    "paused": "Paused",
    "completed": "Concluded",
    "stopped": "Stopped",
    "failed": "Failed",
    "archived": "Archived",
}
STAGE = {
    "opening": "Opening",
    "attack": "Test of the leading answer",
    "debate": "Debate",
    "ballot": "Secret ballot",
    "tally": "Count",
    "gate": "Approval by a person",
    "synthesis": "Decision",
    "ratify": "Ratification",
}
COUNT = {"opening": "Count after the opening", "debate": "Count after the debate", "ballot": "Secret ballot"}
CONTRIBUTION = {
    "opening": "Opening answer",
    "debate": "Answer in the debate",
    "synthesis": "The decision as written",
    "dissent": "Minority report",
    "attack": "Case against the leading answer",
    "ratify": "Verdict on the text",
    "reply": "Reply to a question put to it",
}
DONE = {
    "answer": "has answered",
    "ballot": "has voted",
    "synthesis": "has written the decision",
    "dissent": "has written a minority report",
    "attack": "has made the case against the leading answer",
    "ratify": "has judged the text",
    "gate": "has been answered",
    "reply": "has replied",
}
GATE = {
    "approve": "A person approved that the decision be written",
    "debate": "A person asked for one more debate",
    "stop": "A person ended the council with the count",
}
OUTCOME = {"decided": "Decided", "no_consensus": "No consensus", "partial": "Partial decision"}
SOURCE = {
    "chair": "Written by the chair.",
    "stand_in": "The chair could not write; another seat wrote in its place.",
    "verbatim": "Nobody could write a summary; this is the leading answer, word for word.",
}
CITATION = {"verified": "verified", "unsupported": "not supported", "missing": "missing"}
RULE = {
    "plurality": "Plurality",
    "majority": "Majority",
    "two_thirds": "Two thirds",
    "unanimity": "Unanimity",
    "borda": "Borda",
    "schulze": "Schulze",
    "ranked_pairs": "Ranked pairs",
    "score": "Score",
    "median": "Median",
    "approval": "Approval",
    "irv": "Instant runoff",
    "confidence_weighted": "Weighted by confidence",
}
DECIDED_BY = {
    **RULE,
    "median_score": "a tie, broken by median score",
    "seed": "a tie, broken by the recorded seed",
    "estimates": "the median of the estimates",
}
REASON = {
    "quorum_not_met": "too few seats took part",
    "no_answers": "no seat answered",
    "deadline": "out of time",
    "stuck": "it could not go on",
    "budget": "the budget is used up",
    "no_model": "no model is configured",
    "timeout": "the model took too long",
    "rate_limited": "the model refuses more requests for now",
    "server_error": "the model's server failed",
    "unreachable": "the model cannot be reached",
    "refused": "the model refused to answer",
    "malformed": "the model's server sent nonsense",
    "cut_stream": "the model broke off",
    "empty_reply": "the model answered with nothing",
    "too_long": "the answer was cut off",
    "bad_request": "the model's server did not accept the request",
    "auth_failed": "the model's server refused the key",
    "not_json": "the answer was unreadable",
    "wrong_schema": "the answer had the wrong form",
    "empty": "the answer was empty",
    "refusal": "the model refused to answer",
    "limited": "the model's limits left no room in time",
    "budget_busy": "waits for calls that hold the rest of the budget",
    "address_blocked": "the model's address may not be called",
    "prompt_too_long": "the question is too long for the model",
    "key_unreadable": "the model's stored key cannot be read",
    "unknown_candidate": "it voted for something that does not stand on the ballot",
    "tool_misuse": "it kept calling tools in a way that cannot be carried out",
    "unknown_evidence": "it cited a source that it was not shown",
    "tally_failed": "the votes could not be counted",
    "not_needed": "was not needed any more",
    "absent": "did not take part",
    "failed": "failed",
    "cancelled": "was stopped",
}


def tables() -> dict[str, dict[str, str]]:
    """Every table above, for the page's scripts."""
    return {name.lower(): table for name, table in globals().items() if name.isupper()}


def reason(code: str) -> str:
    """A code in words; an unknown one is at least readable."""
    return REASON.get(code, code.replace("_", " "))


def percent(share: float | None) -> str:
    """Rounded half up, as the browser rounds."""
    return "" if share is None else f"{int(share * 100 + 0.5)} %"


def figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.2f}"


def minute(iso: str | None) -> str:
    """``2025-01-31T09:05:00Z`` as ``2025-01-31 09:05 UTC``."""
    return f"{iso[:10]} {iso[11:16]} UTC" if iso else ""


def margin(decision: dict[str, Any]) -> str:
    """How many ballots would have to change for another outcome."""
    if decision["decided_by"] in {"", "estimates"}:
        return ""
    fewest = decision["margin"]
    if fewest is None:
        return "more than 2 ballots"
    return f"{fewest} {'ballot' if fewest == 1 else 'ballots'}"
