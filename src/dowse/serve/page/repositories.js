// Step 7 of 7, serve: the index view: every repository, how far it is indexed and how fresh it is, adding and removing.

import { ApiError, call, connection, events } from "./api.js";
import { byId, copyOf, counted, make, visible } from "./dom.js";

const AGAIN_MS = 3000;
const LANGUAGES_SHOWN = 6;
const CHANGES = ["state", "progress", "removed"];

export class Repositories {
  #told;
  #timer = 0;

  /** @param {(repositories: object[]) => void} told called whenever what is known of the repositories changes. */
  constructor(told) {
    this.#told = told;
    this.known = [];
    byId("add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
  }

  /** Learn what there is, and listen to how it changes for as long as the page is seen. */
  async follow() {
    for (;;) {
      await seen();
      try {
        await this.#ask();
        for await (const [name] of events("v1/repositories/events", { signal: untilHidden() })) {
          if (CHANGES.includes(name)) this.#lookSoon();
        }
      } catch (error) {
        if (error.name === "AbortError") continue;
        if (!(error instanceof ApiError)) throw error;
        if (error.status === 401 || error.status === 403) {
          await given();
          continue;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }

  /** Ask for the repositories anew. */
  async look() {
    await this.#ask().catch((error) => {
      if (!(error instanceof ApiError)) throw error;
    });
  }

  async #ask() {
    try {
      this.known = (await call("v1/repositories")).repositories;
    } catch (error) {
      if (error instanceof ApiError && error.status) byId("index-lead").textContent = error.message;
      throw error;
    }
    this.#draw();
    this.#told(this.known);
  }

  /** Progress comes in many small steps; they are shown a few times a second. */
  #lookSoon() {
    this.#timer ||= setTimeout(() => {
      this.#timer = 0;
      this.look();
    }, 250);
  }

  async #add() {
    const field = byId("folder");
    const fault = byId("add-error");
    fault.textContent = "";
    try {
      await call("v1/repositories", { method: "POST", body: { path: field.value.trim() } });
      field.value = "";
      await this.look();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fault.textContent = error.message;
      field.focus();
    }
  }

  #remove({ name }) {
    const dialog = byId("remove");
    byId("remove-title").textContent = visible(`Remove ${name}?`);
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      async () => {
        if (dialog.returnValue !== "remove") return;
        try {
          await call(`v1/repositories/${name.split("/").map(encodeURIComponent).join("/")}`, { method: "DELETE" });
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          byId("add-error").textContent = error.message;
        }
        await this.look();
        byId("folder").focus();
      },
      { once: true },
    );
    dialog.showModal();
  }

  #draw() {
    const list = byId("repositories");
    const before = new Map([...list.children].map((item) => [item.dataset.name, item]));
    const items = this.known.map((repository) => {
      const item = before.get(repository.name) ?? this.#item(repository);
      fill(item, repository);
      return item;
    });
    if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) {
      list.replaceChildren(...items);
    }
    const documents = counted(this.known.reduce((sum, one) => sum + one.documents, 0), "document");
    byId("index-lead").textContent = this.known.length
      ? `${documents} of ${counted(this.known.length, "repository", "repositories")} can be searched.`
      : "Nothing is indexed yet. Add a folder with source code, and it can be searched in seconds.";
    const at = this.known.filter((one) => one.state === "indexing").length;
    const said = at ? `indexing ${counted(at, "repository", "repositories")}` : "nothing is being indexed";
    if (byId("index-status").textContent !== said) byId("index-status").textContent = said;
  }

  #item(repository) {
    const item = copyOf("repository-template");
    item.dataset.name = repository.name;
    item.querySelector("h2").textContent = visible(repository.name);
    item.querySelector(".look").textContent = "Search only this";
    item.querySelector(".look").href = `?${new URLSearchParams({ repository: repository.name })}`;
    const remove = item.querySelector('[data-act="remove"]');
    remove.setAttribute("aria-label", visible(`Remove ${repository.name}`));
    remove.addEventListener("click", () => this.#remove(repository));
    return item;
  }
}

/** Resolve once the page is seen. */
function seen() {
  return new Promise((resolve) => {
    if (!document.hidden) return resolve();
    document.addEventListener("visibilitychange", () => resolve(seen()), { once: true });
  });
}

/** Resolve once a token is given: whoever closed the dialog is not asked again before a question needs one. */
function given() {
  return new Promise((resolve) => connection.addEventListener("token", resolve, { once: true }));
}

/** A signal for when the page is hidden: browsers allow six connections to a server, and tabs are many. */
function untilHidden() {
  const giveUp = new AbortController();
  document.addEventListener("visibilitychange", () => giveUp.abort(), { once: true });
  return giveUp.signal;
}

function fill(item, repository) {
  const { path, documents, files, languages, skipped, state, fresh, checked_at, note } = repository;
  const part = (selector) => item.querySelector(selector);
  part(".place").textContent = visible(path);
  const word = state === "ready" && !fresh ? "behind" : state;
  part(".state").textContent = word;
  part(".state").dataset.state = word;
  fillProgress(part(".progress"), repository);
  part(".counts").textContent = `${counted(documents, "document")} of ${counted(files, "file")}`;
  fillLanguages(part(".languages"), languages ?? {});
  const time = new Date(checked_at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const looked = checked_at ? `looked at ${time}` : "";
  part(".note").textContent = visible([note ?? (fresh ? "up to date" : null), looked].filter(Boolean).join(", "));
  const left = Object.entries(skipped ?? {});
  part(".skipped").hidden = !left.length;
  part(".skipped summary").textContent = `${counted(left.reduce((sum, [, n]) => sum + n, 0), "file")} left out`;
  part(".skipped ul").replaceChildren(...left.map(([why, n]) => make("li", {}, `${n.toLocaleString("en")} ${why}`)));
}

/** Show how far the files are indexed or, once they are, how many documents the bi-encoder has embedded ahead. */
function fillProgress(place, { name, state, progress, embedded }) {
  const isIndexing = state === "indexing";
  const { done, total } = (isIndexing ? progress : embedded) ?? { done: 0, total: 0 };
  place.hidden = !isIndexing && done >= total;
  const bar = place.querySelector("progress");
  bar.setAttribute("aria-label", visible(`${isIndexing ? "Indexing" : "Embedding"} ${name}`));
  if (place.hidden) return;
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  const amount = `${done.toLocaleString("en")} of ${counted(total, isIndexing ? "file" : "document")}`;
  const said = isIndexing ? amount : `${amount} embedded for re-ranking`;
  place.querySelector(".amount").textContent = total ? said : "reading files";
}

function fillLanguages(place, languages) {
  const all = Object.entries(languages).sort(([, a], [, b]) => b - a);
  const shown = all.slice(0, LANGUAGES_SHOWN);
  const rest = all.slice(LANGUAGES_SHOWN).reduce((sum, [, n]) => sum + n, 0);
  if (rest) shown.push(["others", rest]);
  place.hidden = !shown.length;
  place.querySelector(".bar").replaceChildren(
    ...shown.map(([, n], at) => {
      const piece = make("span", { "data-colour": at });
      piece.style.flexGrow = n;
      return piece;
    }),
  );
  place.querySelector("ul").replaceChildren(
    ...shown.map(([name, n], at) =>
      make("li", {}, make("span", { class: "dot", "data-colour": at }), `${name} ${n.toLocaleString("en")}`),
    ),
  );
}
