// Step 7 of 7, serve: the map view. Hovering names a point, a click or Enter opens its code below, arrows walk from
// point to point; the legend is a list of buttons that leave only one folder's points.

import { ApiError, call } from "./api.js";
import { byId, counted, make, visible } from "./dom.js";
import { COLOURS, folders } from "./folders.js";
import { keyOf } from "./hit.js";
import { replace } from "./settle.js";
import { Sheet } from "./sheet.js";

const POINTS = 2000;
const STEP = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOM = 1.5;
const NEAR = 0.08;

export class MapView {
  #similar;
  #several = false;
  #of = null;
  #groups = [];
  #groupOf = [];
  #marked = null;
  #giveUp = new AbortController();
  #giveUpOpening = new AbortController();

  /** @param {(hit: object) => void} similar shows code like that of a point. */
  constructor(similar) {
    this.#similar = similar;
    this.canvas = byId("canvas");
    this.sheet = new Sheet(this.canvas);
    this.#listen();
  }

  /** Show the map of the chosen repositories, with rings around the points of the present hits. */
  show(state, hits) {
    const wanted = JSON.stringify(state.repository);
    if (this.#of !== wanted) this.#load(state.repository, wanted);
    this.mark(state, hits);
  }

  /** Forget the map: what is indexed has changed. */
  forget() {
    this.#of = null;
  }

  /** Ring the points of hits. */
  mark(state, hits) {
    this.#marked = [state, hits];
    const keys = new Set(hits.map(keyOf));
    const { points, shown } = this.sheet;
    shown.hits = new Set([...points.keys()].filter((index) => keys.has(keyOf(points[index]))));
    const { size } = shown.hits;
    const lead = "Code that does similar things lies close together.";
    const shows = points.length ? ` ${counted(points.length, "document")} of the index.` : "";
    const ringed = state.q && size ? ` Rings: ${counted(size, "hit")} of “${state.q}”.` : "";
    byId("map-lead").textContent = lead + shows + ringed;
    this.sheet.due();
  }

  async #load(repository, wanted) {
    this.#of = wanted;
    this.#giveUp.abort();
    this.#giveUp = new AbortController();
    const message = byId("map-message");
    const params = new URLSearchParams(repository.map((name) => ["repository", name]));
    params.set("n", POINTS);
    message.hidden = false;
    message.textContent = "Drawing the map…";
    try {
      const { points } = await call(`v1/map?${params}`, { signal: this.#giveUp.signal });
      this.#set(points);
      this.mark(...this.#marked);
      message.textContent = points.length ? "" : "Nothing is indexed yet, so there is nothing to draw.";
    } catch (error) {
      if (error.name === "AbortError") return;
      this.forget();
      if (!(error instanceof ApiError)) throw error;
      message.textContent = error.message;
    }
    message.hidden = !message.textContent;
  }

  #set(points) {
    this.#groups = folders(points);
    this.#several = new Set(points.map(({ repository }) => repository)).size > 1;
    this.#groupOf = [];
    this.#groups.forEach(({ points: inside }, at) => inside.forEach((index) => (this.#groupOf[index] = at)));
    Object.assign(this.sheet.shown, { present: null, only: null });
    byId("tip").hidden = true;
    byId("map-hit").replaceChildren();
    const entries = this.#groups.map((group, at) => this.#entry(group, at));
    byId("legend").replaceChildren(...entries);
    this.recolour();
    const named = this.#groups.filter(({ isRest }) => !isRest);
    this.sheet.set(points, named.map(({ name, points: inside }) => ({ name: visible(name), ...thickest(inside, points) })));
  }

  #entry({ name, isRest, points: inside }, at) {
    const dot = make("span", { class: "dot", "data-colour": isRest ? COLOURS : at });
    const button = make(
      "button",
      { type: "button", "aria-pressed": "false" },
      dot,
      make("span", { class: "name" }, visible(name)),
      make("span", { class: "amount" }, inside.length.toLocaleString("en")),
    );
    button.addEventListener("click", () => this.#leaveOnly(button.getAttribute("aria-pressed") === "true" ? null : at));
    return make("li", {}, button);
  }

  #leaveOnly(at) {
    byId("legend").querySelectorAll("button").forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === at));
    });
    const group = at === null ? null : this.#groups[at];
    this.sheet.shown.only = group && new Set(group.points);
    this.#go(null);
    byId("map-status").textContent = group
      ? `only ${visible(group.name)}: ${counted(group.points.length, "point")}`
      : "all folders";
  }

  /** Take the colours of the present theme from where CSS shows them. */
  recolour() {
    const dots = [...byId("legend").querySelectorAll(".dot")].map((dot) => getComputedStyle(dot).backgroundColor);
    const style = getComputedStyle(this.canvas);
    this.sheet.look = {
      colourOf: (index) => dots[this.#groupOf[index]],
      ink: style.color,
      paper: style.backgroundColor,
      ring: style.color,
    };
    this.sheet.due();
  }

  /** Make a point the present one: ringed, named beside it and said aloud; null for none. */
  #go(index, { aloud = false } = {}) {
    this.sheet.shown.present = index;
    this.canvas.classList.toggle("on-point", index !== null);
    const tip = byId("tip");
    tip.hidden = index === null;
    if (index !== null) {
      const { repository, path, symbol, start_line, end_line } = this.sheet.points[index];
      const name = make("b", {}, visible(symbol ?? path.split("/").at(-1)));
      tip.replaceChildren(name, make("span", {}, visible(`${path}:${start_line}–${end_line}`)));
      const [x, y] = this.sheet.at(this.sheet.points[index]);
      const left = Math.min(Math.max(8, x + 14), Math.max(8, this.canvas.clientWidth - tip.offsetWidth - 8));
      const below = y + 14 + tip.offsetHeight < this.canvas.clientHeight;
      tip.style.transform = `translate(${left}px, ${below ? y + 14 : y - 14 - tip.offsetHeight}px)`;
      const said = `${symbol ?? "code"}, ${path} line ${start_line}, ${repository}`;
      if (aloud) byId("map-status").textContent = visible(said);
    }
    this.sheet.due();
  }

  async #open(index) {
    const { repository, path, symbol, start_line, end_line } = this.sheet.points[index];
    const list = byId("map-hit");
    this.#giveUpOpening.abort();
    this.#giveUpOpening = new AbortController();
    const params = new URLSearchParams({ repository, path, start_line, end_line, context: 0, highlight: true });
    try {
      const found = await call(`v1/document?${params}`, { signal: this.#giveUpOpening.signal });
      replace(list, [{ ...found, symbol, start_line, end_line, kind: null, matches: [] }], {
        query: "",
        several: this.#several,
        similar: this.#similar,
      });
      const article = list.querySelector(".hit");
      article.focus({ preventScroll: true });
      article.scrollIntoView({ block: "nearest" });
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      list.replaceChildren(make("li", { class: "message" }, error.message));
    }
  }

  #listen() {
    const { canvas, sheet } = this;
    let grabbed = null;
    canvas.addEventListener("pointerdown", (event) => {
      grabbed = { x: event.offsetX, y: event.offsetY, moved: 0 };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!grabbed) return this.#go(sheet.nearest(event.offsetX, event.offsetY));
      const [dx, dy] = [event.offsetX - grabbed.x, event.offsetY - grabbed.y];
      grabbed = { x: event.offsetX, y: event.offsetY, moved: grabbed.moved + Math.abs(dx) + Math.abs(dy) };
      if (grabbed.moved > 4 && sheet.zoomed.by > 1) {
        this.#go(null);
        sheet.pan(dx, dy);
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      const wasClick = grabbed && grabbed.moved <= 4;
      grabbed = null;
      const index = sheet.nearest(event.offsetX, event.offsetY);
      if (!wasClick) return;
      this.#go(index);
      if (index !== null) this.#open(index);
    });
    canvas.addEventListener("pointercancel", () => (grabbed = null));
    canvas.addEventListener("pointerleave", () => document.activeElement === canvas || this.#go(null));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls over a map not in use
        event.preventDefault();
        this.#go(null);
        sheet.zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => this.#key(event));
    byId("zoom-in").addEventListener("click", () => this.#zoom(ZOOM));
    byId("zoom-out").addEventListener("click", () => this.#zoom(1 / ZOOM));
    byId("zoom-all").addEventListener("click", () => this.#zoom(0));
    document.documentElement.addEventListener("themechange", () => this.recolour());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
  }

  #zoom(factor) {
    const { present } = this.sheet.shown;
    if (!factor) this.sheet.all();
    else if (present === null) this.sheet.zoom(factor);
    else this.sheet.zoom(factor, ...this.sheet.at(this.sheet.points[present]));
    this.#go(present);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { sheet } = this;
    const acts = {
      Enter: () => sheet.shown.present !== null && this.#open(sheet.shown.present),
      "+": () => this.#zoom(ZOOM),
      "=": () => this.#zoom(ZOOM),
      "-": () => this.#zoom(1 / ZOOM),
      0: () => this.#zoom(0),
      Escape: () => (sheet.shown.only ? this.#leaveOnly(null) : this.#go(null)),
    };
    const step = STEP[event.key];
    if (!step && !acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    if (!step) return acts[event.key]();
    const next = sheet.towards(sheet.shown.present, step);
    if (next === null) return;
    sheet.reveal(next);
    this.#go(next, { aloud: true });
  }
}

/** Return where a group's points lie thickest: the best place for its name. */
function thickest(inside, points) {
  let [most, best] = [-1, { x: 0, y: 0 }];
  const looked = inside.filter((_, at) => at % Math.ceil(inside.length / 200) === 0);
  for (const index of looked) {
    const { x, y } = points[index];
    const near = looked.filter((other) => Math.hypot(points[other].x - x, points[other].y - y) < NEAR).length;
    if (near > most) [most, best] = [near, { x, y }];
  }
  return best;
}
