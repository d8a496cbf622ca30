// What the pages call things: the tables of council/pages/wording.py, which stand in the page as a block of JSON.
const block = globalThis.document?.getElementById("wording");
export const words = block ? JSON.parse(block.textContent) : {};

export const reason = (code) => words.reason?.[code] ?? code.replaceAll("_", " ");

export const percent = (share) => (share == null ? "" : `${Math.floor(share * 100 + 0.5)} %`);

export const figure = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(2));

export const minute = (iso) => (iso ? `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC` : "");

export const plural = (n, one, many) => `${n} ${n === 1 ? one : many}`;
