// The state of a council session: snapshot + event -> state. Pure, and the same as the server's snapshot:
// reduce(snapshot(k), events k+1..n) is snapshot(n), but for `live`, which holds text that is still being written.
// Nothing is changed in place, so that a caller may compare states by identity.

/** A state from a snapshot of the server. */
export const begin = (snapshot) => ({ ...snapshot, live: {}, reason: snapshot.session.reason ?? "" });

/** The state before the first event. */
export const empty = () => ({ session: null, rounds: [], messages: [], decisions: [], last_seq: 0, live: {}, reason: "" });

/** `event`: {seq, type, data}. One that is known already changes nothing; a gap is the caller's to find (`follows`). */
export function reduce(state, event) {
  if (event.seq <= state.last_seq) return state;
  const [kind, verb] = event.type.split(".");
  const change = changes[kind] ?? unchanged;
  return { ...change(state, verb, event.data), last_seq: event.seq };
}

export const follows = (state, event) => event.seq <= state.last_seq + 1;

const unchanged = (state) => state;

const changes = {
  session: (state, verb, data) => ({
    ...state,
    session: { ...state.session, ...data.session },
    reason: data.reason ?? (verb === "started" ? "" : state.reason),
    live: verb === "started" || state.session == null ? {} : state.live,
  }),
  round: (state, verb, data) => (verb === "started" ? opened(state, data) : closed(state, data)),
  tally: (state, _verb, data) => inRound(state, data, (round) => ({ ...round, tally: data.tally })),
  turn: turnMoved,
  message: (state, _verb, data) => ({ ...state, messages: [...state.messages, data.message] }),
  // decision.revised takes the place of the decision of the same run
  decision: (state, _verb, { decision }) => ({
    ...state,
    decisions: [...state.decisions.filter((one) => one.run !== decision.run), decision],
  }),
  budget: (state, _verb, data) => ({
    ...state,
    session: { ...state.session, usage: data.usage, budget: data.budget },
  }),
};

function opened(state, { run, round, stage, opened_at, asked }) {
  const fresh = { run, round, stage, opened_at, closed_at: null, asked, turns: [], tally: null, ballots: [] };
  return { ...state, session: { ...state.session, round }, rounds: [...state.rounds, fresh] };
}

function closed(state, data) {
  const { closed_at, ballots, texts, turns: opened = [] } = data; // turns: sealed until now, for a person sits in the round
  return inRound(state, data, (round) => {
    const turns = opened.reduce(upsert, round.turns);
    return { ...round, closed_at, ballots, turns, ...(texts ? { texts } : {}) };
  });
}

function turnMoved(state, verb, data) {
  const { retry_in_s: _later, usage = state.session.usage, ...turn } = data;
  const live = { ...state.live };
  delete live[turn.turn]; // a new attempt begins anew, and what ended is in the record
  if (verb === "started") live[turn.turn] = { attempt: turn.attempt, text: "", length: 0 };
  const next = { ...state, live, session: { ...state.session, usage } };
  return inRound(next, turn, (round) => ({ ...round, turns: upsert(round.turns, turn) }));
}

function upsert(turns, turn) {
  const known = turns.some((one) => one.turn === turn.turn);
  return known ? turns.map((one) => (one.turn === turn.turn ? turn : one)) : [...turns, turn];
}

function inRound(state, { run, round }, change) {
  const rounds = state.rounds.map((one) => (one.run === run && one.round === round ? change(one) : one));
  return { ...state, rounds };
}

/**
 * `delta`: {turn, attempt, from, text}; `from` counts characters as Python does, which are code points and not UTF-16 units.
 * A delta of another attempt, or one that leaves a hole, changes nothing: the server sends the whole text again.
 */
export function hear(state, delta) {
  const known = state.live[delta.turn];
  if (!known && !isRunning(state, delta)) return state;
  const before = known ?? { attempt: delta.attempt, text: "", length: 0 };
  if (before.attempt !== delta.attempt || delta.from > before.length) return state;
  return { ...state, live: { ...state.live, [delta.turn]: joined(before, delta) } };
}

function joined(before, delta) {
  const kept = delta.from === before.length ? before.text : Array.from(before.text).slice(0, delta.from).join("");
  return { attempt: delta.attempt, text: kept + delta.text, length: delta.from + Array.from(delta.text).length };
}

// After a snapshot nothing is known of running turns but that they run.
function isRunning(state, delta) {
  const turn = state.rounds.flatMap((round) => round.turns).find((one) => one.turn === delta.turn);
  return turn?.status === "running" && turn.attempt === delta.attempt;
}
