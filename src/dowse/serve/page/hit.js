// Step 7 of 7, serve: one hit on the page: where it is, its code, and what can be done with it. Every action is a
// button; keyboard shortcuts press the same buttons.

import { ApiError, call } from "./api.js";
import { chosen, indent, rows } from "./code.js";
import { copyOf, counted, make, say, visible } from "./dom.js";

const CONTEXT_STEP = 10;
const SAID_MS = 1600;

/** What tells a hit from all others. */
export const keyOf = (hit) => JSON.stringify([hit.repository, hit.path, hit.start_line, hit.end_line]);

/**
 * Make the list item of a hit.
 * @param {object} hit as the API has it.
 * @param {{query: string, several: boolean, similar: (hit: object) => void}} about the query, whether several
 *   repositories are searched (then each hit names its own), and what shows similar code.
 */
export function hitItem(hit, { query, several, similar }) {
  const item = copyOf("hit-template");
  const article = item.querySelector(".hit");
  const part = (selector) => item.querySelector(selector);
  item.dataset.key = keyOf(hit);
  article.setAttribute("aria-label", visible(`${hit.symbol ?? hit.path}, ${placeOf(hit)}`));
  part(".symbol").textContent = visible(hit.symbol ?? hit.path.split("/").at(-1));
  const slash = hit.path.lastIndexOf("/") + 1;
  part(".folder").textContent = visible((several ? `${hit.repository} / ` : "") + hit.path.slice(0, slash));
  part(".file").textContent = visible(hit.path.slice(slash));
  part(".span").textContent = `:${hit.start_line}–${hit.end_line}`;
  part(".facts").textContent = [hit.kind, hit.language].filter(Boolean).join(" · ");
  part(".thumbs").hidden = !query;

  const code = new Code(item, hit);
  const acts = {
    whole: () => code.toggle(),
    context: () => code.widen(),
    similar: () => similar(hit),
    copy: (button) => copy(placeOf(hit), button),
    useful: () => judge(item, hit, query, true),
    useless: () => judge(item, hit, query, false),
  };
  for (const button of item.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => acts[button.dataset.act](button));
  }
  return item;
}

/** A hit's location as editors and terminals understand it. */
const placeOf = (hit) => `${hit.path}:${hit.start_line}`;

/** The code of a hit: its telling lines at first, then all of them, then as many around them as wanted. */
class Code {
  constructor(item, hit) {
    this.hit = hit;
    this.block = item.querySelector(".code");
    this.whole = item.querySelector('[data-act="whole"]');
    this.around = item.querySelector('[data-act="context"]');
    this.shown = { text: hit.text, html: hit.html, first: hit.start_line };
    this.matches = new Set(hit.matches ?? []);
    this.context = 0;
    this.isWhole = false;
    this.block.setAttribute("aria-label", visible(`Code of ${hit.symbol ?? placeOf(hit)}`));
    this.draw();
  }

  toggle() {
    if (this.whole.hidden) return;
    if (this.context) this.shown = { text: this.hit.text, html: this.hit.html, first: this.hit.start_line };
    this.isWhole = this.context ? false : !this.isWhole;
    this.context = 0;
    this.draw();
  }

  async widen() {
    const { repository, path, start_line, end_line } = this.hit;
    const context = this.context + CONTEXT_STEP;
    const asked = new URLSearchParams({ repository, path, start_line, end_line, context, highlight: true });
    this.around.setAttribute("aria-busy", "true");
    try {
      const found = await call(`v1/document?${asked}`);
      const last = found.first_line + found.text.split("\n").length - 1;
      const reachesBoth = found.first_line === 1 && last >= found.total_lines;
      this.shown = { text: found.text, html: this.#withOwn(found), first: found.first_line };
      this.context = context;
      this.draw();
      this.around.disabled = reachesBoth;
      const changed = found.as_indexed === false ? ", changed since it was indexed" : "";
      this.around.title = `lines ${found.first_line} to ${last} of ${found.total_lines}${changed}`;
      say(this.around.title);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      flash(this.around, "Not available");
      say(error.message);
    } finally {
      this.around.removeAttribute("aria-busy");
    }
  }

  /** The lines of the hit keep their highlighting: what is cut from a file may begin within a string. */
  #withOwn({ html, first_line: first }) {
    const { html: own, start_line: start } = this.hit;
    return html?.map((line, at) => own?.[first + at - start] ?? line);
  }

  draw() {
    const { text, html, first } = this.shown;
    const body = [this.hit.start_line, this.hit.end_line];
    const lines = rows(text, html, { first, matches: this.matches, body });
    const all = [[0, lines.length - 1]];
    const own = this.hit.end_line - this.hit.start_line + 1;
    const matched = [...this.matches].map((line) => line - first).sort((a, b) => a - b);
    const few = chosen(own, matched);
    const runs = this.isWhole || this.context ? all : few;
    this.block.style.setProperty("--indent", indent(text));
    this.block.style.setProperty("--digits", String(first + lines.length - 1).length);
    this.block.replaceChildren();
    let next = 0;
    for (const [from, to] of [...runs, [lines.length, lines.length]]) {
      if (from > next) this.block.append(this.gap(from - next));
      this.block.append(...lines.slice(from, to + 1));
      next = to + 1;
    }
    const isShort = few.length === 1 && few[0][1] === own - 1;
    this.whole.hidden = isShort && !this.context;
    this.whole.textContent = runs === all ? "Fewer lines" : `All ${own} lines`;
    this.whole.setAttribute("aria-expanded", String(runs === all));
    this.around.disabled = false;
    this.around.textContent = this.context ? "More context" : "Context";
  }

  gap(count) {
    const button = make("button", { type: "button", class: "gap", tabindex: "-1" }, `⋯ ${counted(count, "line")}`);
    button.addEventListener("click", () => this.toggle());
    return button;
  }
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyWithoutClipboard(text); // pages that come neither over https nor from this machine have no clipboard
  }
  flash(button, "Copied");
  say(visible(`copied ${text}`));
}

function copyWithoutClipboard(text) {
  const field = make("textarea", { class: "unseen", readonly: true });
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  focused?.focus();
}

/** Let a button say something for a moment. */
function flash(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  clearTimeout(button.flashing);
  button.flashing = setTimeout(() => {
    button.textContent = button.dataset.label;
    delete button.dataset.label;
  }, SAID_MS);
}

async function judge(item, hit, query, useful) {
  const { repository, path, start_line, end_line } = hit;
  try {
    await call("v1/feedback", { method: "POST", body: { query, repository, path, start_line, end_line, useful } });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    item.querySelector(".remark")?.remove();
    item.querySelector(".thumbs").before(make("span", { class: "remark", title: error.message }, "not kept"));
    say(error.message);
    return;
  }
  for (const [act, value] of [["useful", true], ["useless", false]]) {
    item.querySelector(`[data-act="${act}"]`).setAttribute("aria-pressed", String(value === useful));
  }
  say(useful ? "noted as useful" : "noted as not useful");
}
