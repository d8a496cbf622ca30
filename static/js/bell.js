// The bell in every page's header: what waits for this person, live from their own stream (docs/events.md).
import { h, patch } from "./dom.js";
import { address, LiveSocket } from "./quorum-stream.js";
import { minute, reason } from "./words.js";

const bell = document.getElementById("bell");
const count = bell.querySelector("[data-count]");
const list = bell.querySelector("ul");
const empty = bell.querySelector("[data-empty]");
const seen = bell.querySelector("button");
const SEEN = seen.textContent;
const WINDOW = 500; // after so many later events a notification counts as read

const WORDS = {
  seat_waiting: ({ title }) => `A seat of “${title}” waits for you`,
  gate_waiting: ({ title }) => `“${title}” waits for your decision`,
  council_concluded: ({ title }) => `“${title}” has concluded`,
  council_failed: ({ title }) => `“${title}” has failed`,
  budget_exhausted: ({ title }) => `The budget of “${title}” is used up`,
  pack_shared: ({ title, by }) => (by ? `${by} shared “${title}” with you` : `“${title}” was shared with you`),
  import_failed: ({ title }) => `An import into “${title}” failed`,
  webhook_disabled: ({ title }) => `The webhook to ${title} was switched off`,
};
const PLACES = { session: "/councils/", pack: "/packs/", webhook: "/api/me/webhooks/" };
const GONE = ["pack.unshared", "pack.deleted"];

let state = null;

function reduce({ notifications, read_up_to }, { seq, type, at, data }) {
  if (type === "notification.created") notifications = [...notifications, { seq, at, ...data.notification }];
  if (type === "notifications.read") read_up_to = data.up_to;
  if (GONE.includes(type)) notifications = notifications.filter(({ about }) => about.id !== data.pack.id);
  const after = Math.max(read_up_to, seq - WINDOW);
  return { last_seq: seq, read_up_to, notifications: notifications.filter((one) => one.seq > after) };
}

function change(next) {
  state = next;
  const { notifications } = state;
  bell.hidden = false;
  bell.dataset.seq = state.last_seq;
  count.textContent = notifications.length > 99 ? "99+" : notifications.length || "";
  bell.querySelector("summary").title = notifications.length === 1 ? "1 notification" : `${notifications.length} notifications`;
  empty.hidden = notifications.length > 0;
  seen.hidden = !notifications.length;
  patch(list, notifications.slice(-99).reverse().map(item));
}

const item = (one) =>
  h("li", { key: String(one.seq) },
    h("a", { href: PLACES[one.about.type] + one.about.id }, (WORDS[one.kind] ?? (({ title }) => title))(one)),
    one.detail && h("span", { class: "detail" }, one.about.type === "session" ? reason(one.detail) : one.detail),
    h("time", { datetime: one.at }, minute(one.at)));

seen.addEventListener("click", async () => {
  seen.disabled = true;
  const headers = { "Content-Type": "application/json", "X-CSRFToken": bell.querySelector("[name=csrfmiddlewaretoken]").value };
  // What comes while the list is looked at is not in it yet, and so not read. The answer comes as an event, as to every other page.
  const body = JSON.stringify({ up_to: Math.max(...state.notifications.map(({ seq }) => seq)) });
  const request = fetch("/api/me/notifications/read", { method: "POST", headers, body });
  const done = await request.then((answer) => answer.ok, () => false);
  seen.textContent = done ? SEEN : "That did not work. Try again";
  seen.disabled = false;
});

addEventListener("click", (event) => bell.contains(event.target) || bell.removeAttribute("open"));
addEventListener("keydown", (event) => event.key === "Escape" && bell.removeAttribute("open"));

const socket = new LiveSocket(address("/ws/me"), () => state?.last_seq ?? null, {
  snapshot: change,
  event(event) {
    if (!state || event.seq !== state.last_seq + 1) return false;
    change(reduce(state, event));
    return true;
  },
  delta() {},
  presence() {},
  connection: (what) => (bell.dataset.connection = what),
});
socket.open();
