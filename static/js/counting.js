// Tallies and opened ballots as the page shows them; council/pages/counting.py does the same.
import { percent, words } from "./words.js";

export const label = (candidate) => candidate.option ?? candidate.id.toUpperCase();

export function labels(rounds) {
  const counted = rounds.flatMap((round) => round.tally?.candidates ?? []);
  return new Map(counted.map((candidate) => [candidate.id, label(candidate)]));
}

export function count(round, rounds, names) {
  const { tally } = round;
  const known = ballotLabels(round, rounds);
  return {
    key: `${round.run}.${round.round}`,
    title: words.count[round.stage] ?? words.stage[round.stage],
    sealed: round.closed_at == null ? sealed(round) : "",
    summary: tally ? summary(tally) : "",
    candidates: tally ? tally.candidates.map((candidate) => holding(candidate, tally, names)) : [],
    places: Math.max(0, ...round.ballots.map((ballot) => ballot.ranking.length)),
    ballots: round.ballots.map((ballot) => showBallot(ballot, known, names)),
  };
}

function sealed(round) {
  if (round.stage !== "ballot") return "";
  const cast = round.turns.filter((turn) => turn.kind === "ballot" && turn.status === "completed").length;
  return `${cast} of ${round.asked.length} ballots are cast. They stay sealed until the round closes.`;
}

function summary(tally) {
  const close = tally.too_close ? " Too close to call." : "";
  return `The most common position is held by ${percent(tally.agreement.modal_share)} of the seats.${close}`;
}

function holding(candidate, tally, names) {
  return {
    id: candidate.id,
    label: label(candidate),
    text: candidate.option ? "" : candidate.text,
    held: candidate.seats.length,
    of: Object.keys(tally.agreement.positions).length,
    names: candidate.seats.map((seat) => names.get(seat) ?? "?").join(", ") || "nobody",
    won: tally.winner === candidate.id,
  };
}

function ballotLabels(round, rounds) {
  if (round.texts?.length) return new Map(round.texts.map((text) => [text.id, label(text)]));
  const known = labels(rounds);
  if (rounds.some((one) => one.stage === "debate")) return known;
  const open = [...known].filter(([id]) => id.startsWith("a"));
  return new Map([...known, ...open.map(([id, name]) => [`t${id.slice(1)}`, name])]);
}

function showBallot(ballot, known, names) {
  const name = (id) => known.get(id) ?? id.toUpperCase();
  return {
    name: names.get(ballot.seat) ?? "?",
    abstain: ballot.abstain,
    ranking: ballot.ranking.map(name),
    scores: Object.keys(ballot.scores).sort().map((id) => `${name(id)}: ${ballot.scores[id]}`).join(", "),
  };
}
