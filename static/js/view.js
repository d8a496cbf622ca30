// From a session's state to what the page shows of it; council/pages/showing.py does the same, without live text.
import { cited, parts, statuses } from "./citing.js";
import { count, labels } from "./counting.js";
import { decision } from "./deciding.js";
import { minute, percent, plural, reason, words } from "./words.js";

export function view(state) {
  const { session, decisions } = state;
  const rounds = latestRun(state.rounds);
  const current = session.status === "completed" ? decisions.at(-1) : undefined;
  const names = new Map(session.agents.map((seat) => [seat.id, seat.name]));
  return {
    status: session.status,
    badge: words.status[session.status],
    sentence: sentence(session, rounds, state.reason),
    stages: stages(session, rounds),
    seats: session.agents.map((seat) => showSeat(seat, state, rounds)),
    counts: rounds.filter((round) => round.tally || round.stage === "ballot").map((round) => count(round, rounds, names)),
    decision: current ? decision(current, labels(rounds)) : null,
    earlier: (current ? decisions.slice(0, -1) : decisions).map((one) => decision(one, new Map())),
    messages: state.messages.map((message) => ({ ...message, at: minute(message.created_at) })),
    usage: usage(session),
    waiting: waiting(session, rounds),
    news: state.messages.some((message) => !message.seat && message.created_at > (session.finished_at ?? "")),
  };
}

function latestRun(rounds) {
  const last = Math.max(0, ...rounds.map((round) => round.run));
  return rounds.filter((round) => round.run === last);
}

const openRound = (rounds) => (rounds.at(-1)?.closed_at === null ? rounds.at(-1) : undefined);

const isHuman = (seat) => seat.model === "human";

// What of the open round waits for people, as one word: when it changes, the page asks for the forms again.
function waiting({ status, agents }, rounds) {
  const current = openRound(rounds);
  if (!current || status !== "running") return "";
  const over = new Set(current.turns.filter(ended).map((turn) => turn.seat));
  const people = new Set(agents.filter(isHuman).map((seat) => seat.id));
  const out = current.asked.filter((seat) => people.has(seat) && !over.has(seat));
  // who makes the case instead of an attacker that failed is told by no event
  if (current.turns.some((turn) => turn.kind === "attack" && ended(turn))) out.push("stand-in");
  if (current.stage === "gate" && current.turns.length === 0) out.push("gate");
  return out.length ? `${current.run}.${current.round}: ${out.join(" ")}` : "";
}

const usage = ({ usage: { tokens } }) => (tokens ? `${tokens.toLocaleString("en")} tokens used` : "");

// --- Status ---------------------------------------------------------------------------------------------------------

function sentence(session, rounds, why) {
  switch (session.status) {
    case "draft":
      return "Not started yet.";
    case "failed":
      return why ? `No decision: ${reason(why)}.` : "No decision.";
    case "stopped":
      return "Stopped before a decision.";
    case "completed":
      return `Concluded after ${plural(rounds.length, "round", "rounds")}.`;
    case "paused":
      return "Paused: seats that are at work finish, and nobody else is asked.";
    default: {
      const current = openRound(rounds);
      return current ? progress(current) : "Getting ready.";
    }
  }
}

function progress(round) {
  if (round.stage === "gate") return `Round ${round.round}: waits for a person to approve the outcome.`;
  const done = new Set(round.turns.filter((turn) => turn.seat && ended(turn)).map((turn) => turn.seat)).size;
  return `Round ${round.round}, ${words.stage[round.stage].toLowerCase()}: ${done} of ${round.asked.length} seats are done.`;
}

const ended = (turn) => ["completed", "failed", "cancelled"].includes(turn.status);

function stages(session, rounds) {
  const names = [...(session.protocol.stages ?? [])];
  if (session.protocol.gate && names.includes("synthesis")) names.splice(names.indexOf("synthesis"), 0, "gate");
  const seen = new Map(rounds.map((round) => [round.stage, round.closed_at == null ? "active" : "done"]));
  return names.map((name, place) => {
    const state = seen.get(name) ?? (names.slice(place + 1).some((later) => seen.has(later)) ? "skipped" : "ahead");
    return { label: words.stage[name] + (state === "skipped" ? " (skipped)" : ""), state };
  });
}

// --- Seats ----------------------------------------------------------------------------------------------------------

function showSeat(seat, state, rounds) {
  const turns = turnsOf(seat, rounds).filter((turn) => turn.kind !== "reply");
  const stageOf = new Map(rounds.map((round) => [round.round, round.stage]));
  const hidden = state.session.status === "completed" ? ["synthesis", "dissent"] : [];
  const said = turns
    .filter((turn) => !hidden.includes(turn.kind) && (turn.result ? Object.keys(turn.result).length : false))
    .map((turn) => contribution(turn, stageOf.get(turn.round)));
  const current = turns.at(-1);
  const live = current && state.live[current.turn]?.text;
  if (live) said.push(unfinished(current, stageOf.get(current.round), live));
  const [word, label] = live ? ["writing", "writing"] : seatState(seat, current, state.session, rounds);
  const shown = { human: isHuman(seat), latest: said.at(-1) ?? null, before: said.slice(0, -1) };
  return { ...seat, ...shown, state: word, label, replies: replies(seat, state) };
}

const turnsOf = (seat, rounds) => rounds.flatMap((round) => round.turns).filter((turn) => turn.seat === seat.id);

// Replies to people, in all runs: they stand beside the run.
const replies = (seat, state) =>
  turnsOf(seat, state.rounds)
    .filter((turn) => turn.kind === "reply")
    .map((turn) => (turn.result ? contribution(turn) : state.live[turn.turn]?.text && unfinished(turn, "", state.live[turn.turn].text)))
    .filter(Boolean);

function seatState(seat, turn, session, rounds) {
  const current = openRound(rounds);
  if (current?.asked.includes(seat.id) && turn?.round !== current.round)
    return ["waiting", isHuman(seat) ? "waits for a person" : "waiting"];
  if (!turn) return session.status === "running" ? ["waiting", "waiting"] : ["idle", ""];
  return turnState(turn);
}

function turnState(turn) {
  const why = turn.error ? reason(turn.error) : "";
  switch (turn.status) {
    case "running":
      return turn.kind === "ballot" ? ["voting", "voting in secret"] : ["thinking", "thinking"];
    case "pending":
      return ["retrying", why ? `will try again: ${why}` : "will be asked again"];
    case "failed":
      return ["failed", `failed: ${why}`];
    case "cancelled":
      return ["cancelled", turn.error === "not_needed" ? why : "was stopped"];
    default:
      return ["done", words.done[turn.kind]];
  }
}

function contribution(turn, stage) {
  const { answer, synthesis, citations = [] } = turn.result;
  const text = (answer ?? synthesis)?.answer ?? spoken(turn.result);
  return {
    key: turn.turn,
    heading: heading(turn, stage),
    asked: turn.result.reply?.question,
    parts: parts(text, statuses(citations)),
    option: answer?.option,
    confidence: percent(answer?.confidence),
    because: answer?.changed_because,
    sources: cited(text, citations, turn.evidence),
  };
}

// The words of a turn that is neither an answer nor the decision.
function spoken({ dissent, attack, reply, verdict }) {
  if (verdict) return `${verdict.accept ? "Accepts" : "Rejects"} the text. ${verdict.reason}`.trim();
  return (dissent ?? attack ?? reply)?.text ?? "";
}

const heading = (turn, stage) =>
  words.contribution[turn.kind === "answer" ? stage : turn.kind] + (turn.copied_from ? " (carried over)" : "");

const unfinished = (turn, stage, text) => ({
  key: turn.turn,
  heading: heading(turn, stage),
  parts: parts(text, new Map()),
  sources: [],
  live: true,
});
