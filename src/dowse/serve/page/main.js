// Step 7 of 7, serve: the page. Holds what is asked (the address says the same), shows the view it names, and passes
// what each part tells to those that show it.

import { filterCount, NOTHING, read, VIEWS, write } from "./address.js";
import { ApiError, call, connection } from "./api.js";
import { byId, counted, make, say, visible } from "./dom.js";
import { Filters } from "./filters.js";
import { keyOf } from "./hit.js";
import { listen } from "./keys.js";
import { MapView } from "./map.js";
import { Repositories } from "./repositories.js";
import { Asker, pageAfter } from "./search.js";
import { replace, settle } from "./settle.js";

let state = read(location.search);
let hits = [];
let isAll = true;
let several = false;
let asked = null;
let isEditing = false;
let indexed = "";

const box = byId("q");
const list = byId("hits");
const message = byId("message");

const about = () => ({ query: state.near ? "" : state.q, several, similar: showSimilar });

const filters = new Filters((chosen, soon) => change(chosen, { soon, replace: soon }));
const repositories = new Repositories(whenKnown);
const map = new MapView(showSimilar);
const asker = new Asker({ asked: whenAsked, answered: whenAnswered, done: whenDone, failed: whenFailed });

/** Take over a change of what is asked: into the address and history, onto the page, to the server. */
function change(what, { replace: isReplaced = false, soon = false } = {}) {
  state = { ...state, ...what };
  const address = write(state);
  if (address !== write(read(location.search))) {
    history[isReplaced ? "replaceState" : "pushState"](null, "", address);
  }
  show({ soon });
}

/** Show what is asked; ask the server only if that is another question than the last. */
function show({ soon = false } = {}) {
  const isAsking = Boolean(state.q.trim() || state.near);
  document.title = [state.near ? visible(`like ${state.near.path}`) : state.q, "dowse"].filter(Boolean).join(" · ");
  document.body.dataset.view = state.view;
  document.body.dataset.state = isAsking ? "asking" : "blank";
  if (document.activeElement !== box || box.value.trim() !== state.q.trim()) box.value = state.q;
  for (const view of VIEWS) byId(`${view}-view`).hidden = view !== state.view;
  for (const link of document.querySelectorAll("nav a")) {
    link.href = write({ ...state, view: link.dataset.view });
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  filters.show(state);
  byId("filters").disabled = Boolean(state.near);
  byId("start").hidden = isAsking;
  showOrigin();
  const question = write({ ...state, view: "search" });
  if (!isAsking) clear();
  else if (question !== asked) asker.ask(state, { soon });
  asked = isAsking ? question : null;
  if (state.view === "map") map.show(state, hits);
}

function clear() {
  asker.stop();
  hits = [];
  document.body.dataset.work = "";
  list.replaceChildren();
  message.hidden = true;
  byId("summary").textContent = "";
  offerMore(false);
}

function showSimilar({ repository, path, start_line: line }) {
  change({ view: "search", near: { repository, path, line } });
  window.scrollTo({ top: 0 });
  box.focus({ preventScroll: true });
}

function showOrigin() {
  byId("origin").hidden = !state.near;
  if (!state.near) return;
  const back = make("a", { href: write({ ...state, near: null }) }, state.q ? `back to “${state.q}”` : "back");
  back.addEventListener("click", (event) => follow(event, () => change({ near: null })));
  const place = make("b", {}, visible(`${state.near.path}:${state.near.line}`));
  byId("origin").replaceChildren("Code similar to ", place, " · ", back);
}

function whenAsked() {
  document.body.dataset.work = "asking";
}

/** Show the button for more hits or hide it, and what came of pressing it where that was no hits. */
function offerMore(isOffered, fault = "") {
  byId("more").hidden = !isOffered;
  byId("more-fault").textContent = fault;
}

function whenAnswered(answer, isFirst) {
  document.body.dataset.work = "settling";
  hits = answer.hits;
  several = answer.index?.roots?.length > 1;
  isAll = typeof answer.total === "number" && answer.total <= hits.length;
  message.hidden = true;
  (isFirst ? replace : settle)(list, hits, about());
  summarise(answer);
  if (state.view === "map") map.mark(state, hits);
}

function whenDone() {
  document.body.dataset.work = "";
  offerMore(!state.near && !isAll && hits.length > 0);
  if (!hits.length) showNoHits();
}

function summarise({ took_ms: took, index, stage }) {
  const found = isAll || state.near ? counted(hits.length, "hit") : `the ${counted(hits.length, "best hit")}`;
  const fresh = index?.fresh === false ? (index.notes?.[0] ?? "the index is behind") : "";
  const time = Number.isFinite(took) ? `${Math.round(took)} ms` : "";
  const words = [found, stage === "reranked" ? "re-ranked" : "", time, fresh];
  byId("summary").textContent = hits.length ? words.filter(Boolean).join(" · ") : "";
}

function showNoHits() {
  const clearing = make("button", { type: "button", class: "plain" }, "Search without filters");
  clearing.addEventListener("click", () => byId("clear-filters").click());
  const advice = state.literal
    ? "Exact text is found only where it stands letter by letter. Leave “exact text” out to search by meaning."
    : "Say what the code does in other words, or name something in it.";
  tell("No hits.", advice, !state.near && filterCount(state) ? clearing : null);
  say("no hits");
}

function whenFailed(error, isFirst) {
  document.body.dataset.work = "";
  if (error instanceof ApiError && !error.status) return; // the notice above says so, and asks again
  if (!(error instanceof ApiError)) console.error(error);
  if (!isFirst && hits.length) {
    byId("summary").textContent += ` · ${error.message}`; // an earlier order stands
    say(error.message);
    return;
  }
  hits = [];
  list.replaceChildren();
  byId("summary").textContent = "";
  offerMore(false);
  const isOurs = error.status >= 400 && error.status < 500 && ![401, 408, 429].includes(error.status);
  const again = make("button", { type: "button", class: "plain" }, "Try again");
  again.addEventListener("click", () => asker.ask(state));
  tell(error.status === 401 ? "A token is needed." : "No answer to that.", error.message, isOurs ? null : again);
  say(error.message);
}

/** Say something where the hits would be. */
function tell(title, text, action = null) {
  message.replaceChildren(make("h2", {}, title), make("p", {}, text), ...(action ? [make("p", {}, action)] : []));
  message.hidden = false;
}

async function showMore() {
  const question = asked;
  const answer = await pageAfter(state, list.children.length).catch((error) => error);
  if (question !== asked) return;
  if (answer instanceof Error) return whenNoMore(answer);
  const before = list.children.length;
  const known = new Set(hits.map(keyOf));
  const further = answer.hits.filter((hit) => !known.has(keyOf(hit)));
  const page = make("ol");
  replace(page, further, about());
  list.append(...page.children);
  hits = [...hits, ...further];
  isAll = !further.length || (typeof answer.total === "number" && answer.total <= hits.length);
  offerMore(!isAll);
  summarise(answer);
  list.children[before]?.querySelector(".hit").focus();
}

/** Say beside the button why no more hits came; what cannot be asked for is not offered again. */
function whenNoMore(error) {
  if (!(error instanceof ApiError)) console.error(error);
  if (error instanceof ApiError && !error.status) return; // the notice above says so
  offerMore(error.status !== 400, error.message);
}

function whenKnown(known) {
  filters.offer(known, state);
  const now = JSON.stringify(known.map(({ name, documents }) => [name, documents]));
  if (now !== indexed) map.forget();
  indexed = now;
  const documents = known.reduce((sum, { documents: n }) => sum + n, 0);
  const busy = known.filter((one) => one.state === "indexing");
  const start = byId("start-index");
  byId("examples").hidden = !documents;
  if (!known.length) {
    const link = make("a", { href: "?view=index" }, "Add a folder");
    link.addEventListener("click", (event) => follow(event, () => change({ view: "index" })));
    start.replaceChildren("Nothing is indexed yet. ", link, " to search it.");
  } else {
    const where = known.length === 1 ? known[0].name : counted(known.length, "repository", "repositories");
    const behind = known.some(({ fresh, state: at }) => at === "ready" && !fresh);
    const standing = behind ? "changed since" : "up to date";
    const how = busy.length ? `indexing ${busy.map(({ name }) => name).join(", ")}` : standing;
    start.textContent = visible(`${counted(documents, "document")} of ${where}, ${how}`);
  }
}

/** Learn whether the server keeps verdicts on hits; none are asked for where it does not. */
async function learnFeedback() {
  const health = await call("v1/health").catch((error) => {
    if (!(error instanceof ApiError)) throw error;
  });
  document.body.dataset.feedback = health?.feedback ? "kept" : "";
}

/** Follow a link inside the page, unless it is to open elsewhere. */
function follow(event, act) {
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  act();
}

function askNow() {
  isEditing = false;
  if (write({ ...state, q: box.value, near: null }) === write(state)) list.querySelector(".hit")?.focus();
  else change({ q: box.value, near: null, view: "search" });
}

box.addEventListener("focus", () => (isEditing = false));
box.addEventListener("input", () => {
  change({ q: box.value, near: null, view: "search" }, { replace: isEditing, soon: true });
  isEditing = true; // what is typed in one go is one step back in the history
});
byId("ask").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", showMore);
byId("help-button").addEventListener("click", () => byId("help").showModal());
window.addEventListener("popstate", () => {
  state = read(location.search);
  isEditing = false;
  show();
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('nav a, .wordmark, .examples a, a.look');
  if (!link) return;
  follow(event, () => {
    if (link.matches(".wordmark")) change({ ...NOTHING });
    else change(read(new URL(link.href).search));
    if (state.view === "search") box.focus({ preventScroll: true });
  });
});
connection.addEventListener("lost", () => {
  byId("notice").textContent = "Dowse does not answer. It is asked again every two seconds; what is shown stays.";
  byId("notice").hidden = false;
});
connection.addEventListener("back", () => {
  byId("notice").hidden = true;
  asked = null;
  map.forget();
  show();
  learnFeedback();
  repositories.look();
});

listen({ go: (view) => change({ view }), ask: askNow });
show();
learnFeedback();
repositories.follow();
