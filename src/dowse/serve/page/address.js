// Step 7 of 7, serve: what the page shows, as its address has it. Every query, filter and view has a link of its own.

/** The views there are; anything else is the search. */
export const VIEWS = ["search", "map", "index"];

/** What is asked when nothing is said. `near` is the place whose similar code is shown instead of a query's hits. */
export const NOTHING = Object.freeze({
  view: "search",
  q: "",
  repository: [],
  language: "",
  path: "",
  kind: [],
  literal: false,
  near: null,
});

/** Read an address's query string; what it does not say, or says wrongly, is as in NOTHING. */
export function read(search) {
  const given = new URLSearchParams(search);
  const view = given.get("view") ?? "search";
  const [, path, line] = /^(.+):([0-9]{1,9})$/s.exec(given.get("near") ?? "") ?? [];
  return {
    view: VIEWS.includes(view) ? view : "search",
    q: given.get("q") ?? "",
    repository: given.getAll("repository"),
    language: given.get("language") ?? "",
    path: given.get("path") ?? "",
    kind: given.getAll("kind"),
    literal: given.get("literal") === "true",
    near: path ? { repository: given.get("in") ?? "", path, line: Number(line) } : null,
  };
}

/** Write the query string that `read` reads back; what is as in NOTHING is left out. */
export function write(state) {
  const params = filterParams(state);
  if (state.near) {
    params.set("near", `${state.near.path}:${state.near.line}`);
    params.set("in", state.near.repository);
  }
  if (state.view !== "search") params.set("view", state.view);
  const text = params.toString();
  return text ? `?${text}` : "?";
}

/** The query and its filters, named as the HTTP API names them. */
export function filterParams(state) {
  const params = new URLSearchParams();
  if (state.q) params.set("q", state.q);
  for (const name of state.repository) params.append("repository", name);
  if (state.language) params.set("language", state.language);
  if (state.path) params.set("path", state.path);
  for (const name of state.kind) params.append("kind", name);
  if (state.literal) params.set("literal", "true");
  return params;
}

/** How many filters are set. */
export function filterCount(state) {
  return state.repository.length + state.kind.length + Boolean(state.language) + Boolean(state.path) + state.literal;
}
