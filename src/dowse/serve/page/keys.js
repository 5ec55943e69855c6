// Step 7 of 7, serve: the keyboard. Letters work wherever no text is being typed; each presses what is on the page.

import { byId } from "./dom.js";

const PRESSES = { x: "context", s: "similar", c: "copy" };
const GOES = { s: "search", m: "map", i: "index" };
const GO_MS = 1500;

/** Listen to the keyboard; `go` shows a view, `ask` asks what stands in the search box at once. */
export function listen({ go, ask }) {
  let goesUntil = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const at = event.target;
    if (at === byId("q")) return inBox(event, ask);
    if (at.matches("input:not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") byId("q").focus();
      return;
    }
    const isGoing = performance.now() < goesUntil;
    goesUntil = event.key === "g" ? performance.now() + GO_MS : 0;
    const act = isGoing && GOES[event.key] ? () => go(GOES[event.key]) : action(event, at);
    if (act) {
      event.preventDefault();
      act();
    }
  });
}

function inBox(event, ask) {
  const box = byId("q");
  if (event.key === "Enter") {
    event.preventDefault();
    ask();
  } else if (event.key === "ArrowDown" && articles().length) {
    event.preventDefault();
    focus(articles()[0]);
  } else if (event.key === "Escape" && box.value) {
    event.preventDefault();
    box.value = "";
    box.dispatchEvent(new Event("input", { bubbles: true }));
  } else if (event.key === "Escape") {
    box.blur();
  }
}

/** Return what a key does, null where nothing. */
function action({ key }, at) {
  const hit = at.closest(".hit");
  if (key === "/") return toBox;
  if (key === "?") return () => byId("help").showModal();
  if (key === "f") return () => toFilters();
  if (key === "Escape") return back();
  if (key === "j" || key === "ArrowDown") return isScrolled(at, key) ? null : () => step(hit, 1);
  if (key === "k" || key === "ArrowUp") return isScrolled(at, key) ? null : () => step(hit, -1);
  if (hit && at === hit && key === "Enter") return () => press(hit, "whole");
  if (hit && PRESSES[key]) return () => press(hit, PRESSES[key]);
  return null;
}

/** Arrows scroll where there is no hit to step through. */
const isScrolled = (at, key) => key.startsWith("Arrow") && (!articles().length || at.matches("summary, input"));

const articles = () => [...document.querySelectorAll("main > section:not([hidden]) .hit")];

function step(from, by) {
  const all = articles();
  const to = from ? all.indexOf(from) + by : by > 0 ? 0 : -1;
  if (to < 0) toBox();
  else if (all[to]) focus(all[to]);
}

function focus(article) {
  article.focus({ preventScroll: true });
  article.scrollIntoView({ block: "nearest" });
}

function press(hit, act) {
  hit.querySelector(`[data-act="${act}"]`).click();
}

function toBox() {
  if (byId("search-view").hidden) {
    document.querySelector('nav a[data-view="search"]').click();
  }
  byId("q").focus();
  byId("q").select();
}

/** Where Escape leads: to what the view begins with. */
function back() {
  if (!byId("search-view").hidden) return toBox;
  return byId("map-view").hidden ? null : () => byId("canvas").focus();
}

function toFilters() {
  if (byId("search-view").hidden) return;
  if (byId("filters-button").offsetParent) {
    byId("filters-button").focus();
    if (byId("filters").dataset.open !== "true") byId("filters-button").click();
  } else {
    [...document.querySelectorAll("#filters summary, #filters select")].find((one) => one.offsetParent).focus();
  }
}
