// What a view looks like. The same structure and classes as templates/pages/live/*.html.
import { h } from "./dom.js";

export const stages = (view) =>
  view.stages.map((stage) =>
    h("li", { class: stage.state, "aria-current": stage.state === "active" ? "step" : null }, stage.label),
  );

// --- Texts and sources ------------------------------------------------------------------------------------------------

const text = (parts, scope) => parts.map((part) => (part.n ? mark(part, scope) : part.text));

const mark = (part, scope) =>
  h("a", { class: `mark ${part.status}`, href: `#${scope}-${part.n}` }, `[${part.n}]`);

const sources = (list, scope) => list.map((source) => sourceItem(source, scope));

const sourceItem = (source, scope) =>
  h(
    "details",
    { class: `source ${source.status}`, key: `${scope}-${source.n}` },
    h(
      "summary",
      null,
      h("span", { class: "n" }, `[${source.n}]`),
      " ",
      h("span", { class: "title" }, source.title || "no such source"),
      " ",
      h("span", { class: "tag" }, source.word),
    ),
    h(
      "div",
      { id: `${scope}-${source.n}` },
      source.quote && h("blockquote", null, source.quote),
      source.reason && h("p", { class: "hint" }, source.reason),
      source.link && h("p", null, h("a", { href: source.link }, "Read the entry as it was cited")),
    ),
  );

// --- Seats --------------------------------------------------------------------------------------------------------------

export const seats = (view) => view.seats.map(seat);

const seat = (one) =>
  h(
    "article",
    { class: `seat ${one.state}`, key: one.id, "aria-labelledby": `seat-${one.id}` },
    h(
      "header",
      null,
      h("h3", { id: `seat-${one.id}` }, one.name, isChair(one) && h("span", { class: "chair" }, "chair"), one.human && h("span", { class: "chair" }, "a person")),
      h("span", { class: "state" }, one.label),
    ),
    one.role && h("p", { class: "role" }, one.role),
    one.latest && contribution(one.latest),
    one.before.map(earlier),
    one.replies.map(contribution),
  );

const isChair = (one) => one.chair && one.name.toLowerCase() !== "chair";

const contribution = (said) =>
  h(
    "div",
    { class: said.live ? "said live" : "said", key: said.key },
    h("h4", null, said.heading),
    said.asked && h("p", { class: "hint" }, `Asked: ${said.asked}`),
    facts(said),
    h("p", { class: "text" }, text(said.parts, `s${said.key}`)),
    said.because && h("p", { class: "hint" }, `Changed because: ${said.because}`),
    sources(said.sources, `s${said.key}`),
  );

const facts = (said) =>
  (said.option || said.confidence) &&
  h(
    "p",
    { class: "stance" },
    said.option && h("strong", null, said.option),
    said.option && said.confidence && " ",
    said.confidence && h("span", { class: "hint" }, `${said.confidence} sure`),
  );

const earlier = (said) =>
  h("details", { class: "earlier", key: `before-${said.key}` }, h("summary", null, said.heading), contribution(said));

// --- Counts -------------------------------------------------------------------------------------------------------------

export const counts = (view) => view.counts.map(count);

const count = (one) =>
  h(
    "section",
    { class: "count", key: one.key },
    h("h3", null, one.title),
    one.sealed && h("p", { class: "hint" }, one.sealed),
    one.summary && h("p", null, one.summary),
    one.candidates.length > 0 && h("ul", { class: "candidates" }, one.candidates.map(candidate)),
    one.ballots.length > 0 && ballots(one),
  );

const candidate = (one) =>
  h(
    "li",
    { class: one.won ? "won" : "" },
    h("span", { class: "label" }, one.label),
    " ",
    h("meter", { min: 0, max: one.of, value: one.held, "aria-label": `${one.held} of ${one.of} seats` }),
    " ",
    h("span", { class: "hint" }, `${one.held} of ${one.of}: ${one.names}`),
    one.text && h("p", { class: "text" }, one.text),
  );

const ballots = (one) =>
  h(
    "div",
    { class: "scroll", tabindex: 0 },
    h(
      "table",
      null,
      h("caption", null, "Ballots, opened when the round closed"),
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Seat"), places(one.places), h("th", { scope: "col" }, "Scores"))),
      h("tbody", null, one.ballots.map((ballot) => ballotRow(ballot, one.places))),
    ),
  );

const places = (n) => Array.from({ length: n }, (_, at) => h("th", { scope: "col" }, `Place ${at + 1}`));

const ballotRow = (ballot, width) =>
  h(
    "tr",
    null,
    h("th", { scope: "row" }, ballot.name),
    ballot.abstain
      ? h("td", { colspan: Math.max(1, width) }, "abstained")
      : Array.from({ length: width }, (_, at) => h("td", null, ballot.ranking[at] ?? "")),
    h("td", null, ballot.scores),
  );

// --- The decision -------------------------------------------------------------------------------------------------------

export const decisions = (view) => [
  view.decision && decision(view.decision, "d"),
  view.earlier.length > 0 &&
    h(
      "details",
      { class: "earlier", key: "earlier" },
      h("summary", null, "Earlier decisions of this council"),
      view.earlier.map((one, at) => decision(one, `e${at + 1}`)),
    ),
];

const decision = (one, scope) =>
  h(
    "section",
    { class: `decision ${one.outcome}`, key: scope, "aria-labelledby": `${scope}-heading` },
    one.notes.length > 0 && h("div", { class: "notice warning" }, one.notes.map((note) => h("p", null, note))),
    h(
      "header",
      null,
      h("h2", { id: `${scope}-heading` }, one.heading),
      one.tooClose && h("span", { class: "badge close" }, "Too close to call"),
    ),
    one.option && h("p", { class: "option" }, one.option),
    h("p", { class: "text" }, text(one.parts, scope)),
    h("p", { class: "hint" }, one.written),
    h("dl", { class: "facts" }, one.facts.map(({ term, value }) => h("div", null, h("dt", null, term), h("dd", null, value)))),
    one.citations.length > 0 && h("div", { class: "sources" }, h("h3", null, "Sources"), sources(one.citations, scope)),
    one.dissent.length > 0 && h("div", { class: "dissent" }, h("h3", null, "Dissent"), one.dissent.map(dissent)),
    one.flips.length > 0 && list("Changes of mind", one.flips),
    one.missing.length > 0 && list("Seats that were missing", one.missing),
    one.rules.length > 0 && rules(one),
  );

const dissent = (one) =>
  h(
    "figure",
    null,
    h("figcaption", null, one.name, one.option && ` for “${one.option}”`, !one.written && ", quoted from its answer"),
    h("blockquote", { class: "text" }, text(one.parts, "none")),
  );

const list = (title, items) => h("div", null, h("h3", null, title), h("ul", null, items.map((item) => h("li", null, item))));

const rules = (one) =>
  h(
    "details",
    { class: "rules", key: "rules" },
    h("summary", null, "What other rules would have decided"),
    h(
      "div",
      { class: "scroll", tabindex: 0 },
      h(
        "table",
        null,
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h("th", { scope: "col" }, "Rule"),
            h("th", { scope: "col" }, "Winner"),
            one.candidates.map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h("tbody", null, one.rules.map(ruleRow)),
      ),
    ),
  );

const ruleRow = (rule) =>
  h(
    "tr",
    null,
    h("th", { scope: "row" }, rule.name),
    h("td", null, rule.winner),
    rule.scores.map((score) => h("td", { class: "number" }, score)),
  );

// --- Messages -----------------------------------------------------------------------------------------------------------

export const messages = (view) =>
  view.messages.map((message) =>
    h(
      "li",
      { key: message.id },
      h(
        "p",
        { class: "hint" },
        h("span", { class: "tag" }, message.kind),
        " ",
        message.at,
        message.interrupt && ", interrupting",
      ),
      h("p", { class: "text" }, message.content),
    ),
  );
