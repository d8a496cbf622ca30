// Marks in texts and the sources behind them; council/pages/citing.py does the same.
import { words } from "./words.js";

const MARK = /\[(\d{1,3})\]/g;
const ORDER = ["verified", "unsupported", "missing"];

export function statuses(checks) {
  const found = new Map();
  for (const { n, status } of checks) {
    const known = found.get(n) ?? "missing";
    found.set(n, ORDER.indexOf(status) < ORDER.indexOf(known) ? status : known);
  }
  return found;
}

export function parts(text, known) {
  const pieces = [];
  let last = 0;
  for (const mark of text.matchAll(MARK)) {
    pieces.push({ text: text.slice(last, mark.index) });
    pieces.push({ n: Number(mark[1]), status: known.get(Number(mark[1])) ?? "unchecked" });
    last = mark.index + mark[0].length;
  }
  return [...pieces, { text: text.slice(last) }].filter((piece) => piece.text !== "");
}

export function cited(text, checks, evidence) {
  const best = statuses(checks);
  const shown = new Map(evidence.map((item) => [item.n, item]));
  const numbers = [...new Set([...text.matchAll(MARK)].map((mark) => Number(mark[1])))];
  return numbers.map((n) => {
    const check = checks.find((one) => one.n === n && one.status === best.get(n));
    const item = shown.get(n) ?? {};
    return source({ ...item, quote: item.text ?? "", n, ...check }, item.title);
  });
}

export function source(citation, title) {
  const status = citation.status ?? "unchecked";
  return {
    n: citation.n,
    status,
    word: words.citation[status] ?? "not checked yet",
    title: title ?? "",
    quote: citation.quote ?? "",
    reason: citation.reason ?? "",
    link: link(citation),
  };
}

function link({ entry, revision, start, end }) {
  return entry && revision ? `/entries/${entry}?revision=${revision}&start=${start}&end=${end}#quote` : "";
}
