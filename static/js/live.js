// The live page of a council session.
import { patch } from "./dom.js";
import { address, follow } from "./quorum-stream.js";
import * as render from "./render.js";
import { view } from "./view.js";

const page = document.getElementById("session");
const roots = Object.fromEntries(
  ["decisions", "stages", "seats", "counts", "messages"].map((name) => [name, document.getElementById(name)]),
);
const BANNERS = {
  open: "",
  lost: "The connection is lost. Trying again …",
  "signed-out": "You are signed out. Reload this page to sign in again.",
  gone: "This council cannot be watched any more.",
};
const FINISHED = ["completed", "stopped", "failed"];

let state = null;
let drawing = false;

function change(next) {
  state = next;
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  const shown = view(state);
  for (const [name, root] of Object.entries(roots)) adopt(root, render[name](shown));
  say("badge", shown.badge, `badge ${shown.status}`);
  say("sentence", shown.sentence);
  say("usage", shown.usage);
  askForForms(shown.waiting);
  showControls(shown);
  page.dataset.seq = state.last_seq;
}

// The server's rendering has no keys to be recognised by: the first one of ours takes its place.
function adopt(root, nodes) {
  if (!root.quorumLive) root.replaceChildren();
  root.quorumLive = true;
  patch(root, nodes);
  root.closest("[data-optional]")?.toggleAttribute("hidden", !root.hasChildNodes());
}

// The forms of people are the server's to draw; those that stand there already keep what was typed into them.
function askForForms(waiting) {
  const forms = document.getElementById("waiting");
  if (forms.dataset.waiting === waiting) return;
  forms.dataset.waiting = waiting;
  document.body.dispatchEvent(new CustomEvent("quorum:waiting"));
}

function say(id, text, className) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
  if (className) element.className = className;
}

function showControls({ status, news }) {
  const finished = FINISHED.includes(status);
  for (const element of document.querySelectorAll("[data-when]")) {
    const wanted = element.dataset.when.split(" ");
    const now = [status, finished && "finished", finished && news && "news", !finished && "unfinished"];
    element.hidden = !wanted.some((word) => now.includes(word));
  }
}

follow(address(page.dataset.socket), {
  changed: change,
  begun: (state) => ({ ...state, reason: page.dataset.reason }),
  presence: (watching) => say("presence", watching > 1 ? `${watching} people are watching` : ""),
  connection(what) {
    const banner = document.getElementById("connection");
    banner.textContent = BANNERS[what];
    banner.hidden = what === "open";
    page.dataset.connection = what;
  },
});

// A mark opens the source that it names.
page.addEventListener("click", (event) => {
  const mark = event.target.closest("a.mark");
  const target = mark && document.getElementById(mark.hash.slice(1));
  const details = target?.closest("details");
  if (details) details.open = true;
});
