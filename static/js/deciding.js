// A decision as the page shows it; council/pages/deciding.py does the same.
import { parts, source, statuses } from "./citing.js";
import { figure, percent, plural, reason, words } from "./words.js";

export function decision(stored, names) {
  const checks = stored.citations;
  return {
    outcome: stored.outcome,
    heading: words.outcome[stored.outcome],
    option: stored.option,
    parts: parts(stored.answer, statuses(checks)),
    written: words.source[stored.source],
    notes: stored.notes,
    tooClose: stored.too_close,
    facts: facts(stored),
    citations: checks.map((check) => source(check, check.title)),
    dissent: stored.dissent.map(dissent),
    flips: stored.flips.map((one) => flip(one, names)),
    missing: stored.missing.map((one) => `${one.name} (${words.stage[one.stage].toLowerCase()}): ${reason(one.error)}`),
    ...rules(stored, names),
  };
}

function facts(stored) {
  const before = percent(stored.agreement.opening);
  const after = percent(stored.agreement.final);
  return [
    { term: "Agreement", value: before && after ? `${before} at the opening, ${after} at the end` : after || before },
    { term: "Confidence of its supporters", value: percent(stored.confidence) },
    { term: "Decided by", value: words.decided_by[stored.decided_by] ?? stored.decided_by },
    { term: "Margin", value: margin(stored) },
  ].filter((fact) => fact.value);
}

function margin(stored) {
  if (["", "estimates"].includes(stored.decided_by)) return "";
  return stored.margin == null ? "more than 2 ballots" : plural(stored.margin, "ballot", "ballots");
}

function rules(stored, names) {
  const name = (id) => names.get(id) ?? id.toUpperCase();
  const found = names.size ? Object.entries(stored.rules) : [];
  const ids = [...new Set(found.flatMap(([, result]) => Object.keys(result.scores)))];
  ids.sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  return {
    candidates: ids.map(name),
    rules: found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([rule, result]) => ({
      name: words.rule[rule] ?? rule,
      winner: result.winners.map(name).join(" / ") || "nobody",
      scores: ids.map((id) => (id in result.scores ? figure(result.scores[id]) : "")),
    })),
  };
}

function dissent(one) {
  const { name, option, written, text, citations } = one;
  return { name, option, written, parts: parts(text, statuses(citations)) };
}

function flip(one, names) {
  const held = (id) => names.get(id) || id.toUpperCase() || "no position";
  return `${one.name} went from ${held(one.before)} to ${held(one.after)}: ${one.because || "no reason given"}`;
}
