// Step 7 of 7, serve: lines of code on the page. Code is other people's text: the highlighted lines the server sends
// are taken apart here and built up again from text nodes and spans, and are only believed where their text is the
// line's own. Characters that reorder or hide text are shown by their number.

import { make, UNSEEN, visible } from "./dom.js";

/** Lines shown of a hit at first. */
const SHOWN = 14;
const HEAD = 3;

const TAG = /<span class="([a-z0-9 ]{1,32})">|<\/span>/g;
const ENTITY = { amp: "&", lt: "<", gt: ">", quot: '"', "#34": '"', "#39": "'", "#x27": "'" };

/** Split an escaped line such as `<span class="k">def</span> f` into [class, text] pairs; other tags stay text. */
function tokens(html) {
  const found = [];
  const open = [];
  let at = 0;
  const keep = (until) => {
    if (until > at) found.push([open.at(-1) ?? "", unescaped(html.slice(at, until))]);
  };
  for (const tag of html.matchAll(TAG)) {
    keep(tag.index);
    if (tag[1]) open.push(tag[1]);
    else open.pop();
    at = tag.index + tag[0].length;
  }
  keep(html.length);
  return found;
}

function unescaped(text) {
  return text.replace(/&(#?[a-z0-9]{1,4});/g, (whole, name) => ENTITY[name] ?? whole);
}

/**
 * Make the rows of a text.
 * @param {string} text the lines.
 * @param {string[]|undefined} html each line highlighted, if the server did.
 * @param {{first: number, matches: Set<number>, body: [number, number]}} about number of the first line, numbers of the
 *   lines to mark, first and last line of the hit itself (others are its surroundings).
 * @returns {HTMLElement[]}
 */
export function rows(text, html, { first, matches, body }) {
  return text.split("\n").map((raw, index) => {
    const number = first + index;
    const line = raw.replace(/\r$/, "");
    const row = make("div", { class: "line", "data-line": number });
    row.classList.toggle("match", matches.has(number));
    row.classList.toggle("around", number < body[0] || number > body[1]);
    const code = make("code");
    for (const [name, piece] of believed(line, html?.[index])) code.append(...pieces(name, piece));
    if (matches.has(number)) row.append(make("span", { class: "unseen" }, "matches: "));
    row.append(code);
    return row;
  });
}

/** Take the highlighting of a line only where it says what the line says. */
function believed(line, html) {
  if (html === undefined) return [["", line]];
  const found = tokens(html);
  return found.map(([, piece]) => piece).join("") === line ? found : [["", line]];
}

function pieces(name, text) {
  return text
    .split(new RegExp(`(${UNSEEN.source})`, "u"))
    .filter(Boolean)
    .map((piece) => {
      if (UNSEEN.test(piece)) return make("span", { class: "hidden-character" }, visible(piece));
      return name ? make("span", { class: name }, piece) : piece;
    });
}

/** The columns that all lines of a text begin with as blanks, so that methods need not stand to the right. */
export function indent(text, tab = 4) {
  const depths = text.split("\n").map((line) => {
    if (!line.trim()) return Infinity;
    return [...line.match(/^[ \t]*/)[0]].reduce((at, blank) => (blank === "\t" ? at + tab - (at % tab) : at + 1), 0);
  });
  const least = Math.min(...depths);
  return Number.isFinite(least) ? least : 0;
}

/**
 * Choose the lines of a hit to show at first: its head, and those that match with a line around them.
 * @param {number} count how many lines there are.
 * @param {number[]} matched which of them match, from 0, in order.
 * @returns {[number, number][]} runs of lines to show, from 0, both ends included.
 */
export function chosen(count, matched) {
  if (count <= SHOWN + 2) return [[0, count - 1]];
  const kept = new Set(Array.from({ length: HEAD }, (_, line) => line));
  for (const line of matched) {
    for (const near of [line, line - 1, line + 1]) {
      if (kept.size < SHOWN && near >= 0 && near < count) kept.add(near);
    }
  }
  for (let line = HEAD; kept.size < SHOWN; line += 1) kept.add(line);
  const runs = [];
  for (const line of [...kept].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && line <= last[1] + 2) last[1] = line; // one line left out would only be a line of dots
    else runs.push([line, line]);
  }
  if (runs.at(-1)[1] === count - 2) runs.at(-1)[1] = count - 1;
  return runs;
}
