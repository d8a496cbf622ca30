// Follow a council session live: the client of the protocol in docs/events.md, for pages of ours and of others. No build, no package;
// it needs socket.js and reducer.js beside it.
//
//   import { follow } from "/static/js/quorum-stream.js";
//   const stream = follow("wss://quorum.example.org/ws/council-sessions/…", {
//     changed: (state) => render(state),                    // a new object whenever anything has changed
//     connection: (what) => banner(what),                   // "open", "lost", "signed-out", "gone"
//   });
//   stream.state; stream.close();
//
// A lost connection is made again by itself, with growing pauses and some chance in them, and goes on after the last event that is
// known: nothing is missed, and nothing comes twice. `docs/clients.md` says more.
import { begin, follows, hear, reduce } from "./reducer.js";
import { LiveSocket } from "./socket.js";

export { begin, empty, follows, hear, reduce } from "./reducer.js";
export { LiveSocket } from "./socket.js";

const nothing = () => {};

/**
 * Options, all but `changed` optional:
 * - changed(state): what is known now, the server's snapshot with `live` (text that is being written, by turn: {attempt, text}) and
 *   `reason` (why the latest run failed or was stopped). States are never changed in place.
 * - happened(event): each event {seq, type, at, data} once, after `changed`.
 * - presence(n): how many different users watch. connection(what): as above.
 * - begun(state): gives the state that is to be used after a snapshot, where a page knows more than the snapshot.
 * - state: what an earlier stream left, to go on from there; without it the server begins with a snapshot.
 * - ticket(): a promise of a ticket, for pages of other origins. It is asked for at every connection, for each is good once.
 */
export function follow(url, options) {
  const { changed, happened = nothing, presence = nothing, connection = nothing, begun = (state) => state, ticket } = options;
  let state = options.state ?? null;

  const change = (next) => {
    if (next === state) return;
    state = next;
    changed(state);
  };
  const handlers = {
    snapshot: (snapshot) => change(begun(begin(snapshot))),
    event(event) {
      if (!state || !follows(state, event)) return false;
      const known = event.seq <= state.last_seq;
      change(reduce(state, event));
      if (!known) happened(event);
      return true;
    },
    delta: (delta) => state && change(hear(state, delta)),
    presence,
    connection,
  };
  const socket = new LiveSocket(url, () => state?.last_seq ?? null, handlers, ticket);
  socket.open();
  return {
    get state() {
      return state;
    },
    close: () => socket.close(),
  };
}

/** The address of a stream of this page's own server. */
export function address(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}
