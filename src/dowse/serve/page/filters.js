// Step 7 of 7, serve: the filters under the search box. They show what a state says and tell what they are set to;
// what there is to choose from comes from the indexed repositories.

import { filterCount, NOTHING } from "./address.js";
import { byId, make, visible } from "./dom.js";

export class Filters {
  #changed;
  #offered = "";
  #state = NOTHING;

  /** @param {(filters: object, soon: boolean) => void} changed told the filters that
   *   changed; soon while a path is being typed. */
  constructor(changed) {
    this.#changed = changed;
    byId("filters").addEventListener("change", (event) => {
      if (event.target.id !== "path") this.#tell(event.target);
    });
    byId("path").addEventListener("input", (event) => this.#tell(event.target, true));
    byId("clear-filters").addEventListener("click", () => {
      this.#changed({ repository: [], language: "", path: "", kind: [], literal: false }, false);
      byId("q").focus();
    });
    byId("filters-button").addEventListener("click", () => this.open(byId("filters").dataset.open !== "true"));
    this.#closeChoiceFromOutside();
  }

  /** Open or close the filters where the screen is narrow; where it is wide they are always open. */
  open(wanted) {
    byId("filters").dataset.open = String(wanted);
    byId("filters-button").setAttribute("aria-expanded", String(wanted));
  }

  /** Offer what is indexed; what is chosen stays chosen. */
  offer(repositories, state) {
    const offer = JSON.stringify(repositories.map(({ name, languages }) => [name, Object.keys(languages ?? {})]));
    if (offer === this.#offered) return; // an open list is not pulled away while files are being indexed
    this.#offered = offer;
    byId("repositories-choice").hidden = repositories.length < 2;
    byId("repositories-options").replaceChildren(
      ...repositories.map(({ name }) =>
        make("label", {}, make("input", { type: "checkbox", name: "repository", value: name }), make("span", {}, visible(name))),
      ),
    );
    const files = new Map();
    for (const { languages = {} } of repositories) {
      for (const [name, count] of Object.entries(languages)) files.set(name, (files.get(name) ?? 0) + count);
    }
    if (state.language && !files.has(state.language)) files.set(state.language, 0);
    const names = [...files].sort(([a, m], [b, n]) => n - m || a.localeCompare(b)).map(([name]) => name);
    byId("language").replaceChildren(
      make("option", { value: "" }, "Any language"),
      ...names.map((name) => make("option", { value: name }, name)),
    );
    this.show(state);
  }

  /** Show what a state says. */
  show(state) {
    this.#state = state;
    for (const box of this.#boxes("repository")) box.checked = state.repository.includes(box.value);
    for (const box of this.#boxes("kind")) box.checked = state.kind.includes(box.value);
    byId("literal").checked = state.literal;
    byId("language").value = state.language;
    if (document.activeElement !== byId("path")) byId("path").value = state.path;
    const count = filterCount(state);
    byId("filters-button").textContent = count ? `Filters (${count})` : "Filters";
    byId("clear-filters").hidden = !count;
    byId("repositories-choice").querySelector("summary").textContent = state.repository.length
      ? state.repository.length === 1 ? visible(state.repository[0]) : `${state.repository.length} repositories`
      : "All repositories";
  }

  /** Tell what one control is set to; what is chosen and not on offer yet, such as a repository, stays chosen. */
  #tell(control, soon = false) {
    this.#changed({ [control.name]: this.#valueOf(control) }, soon);
  }

  #valueOf({ id, name, value, checked }) {
    if (id === "literal") return checked;
    if (id) return value.trim();
    const boxes = this.#boxes(name);
    const offered = new Set(boxes.map((box) => box.value));
    const others = this.#state[name].filter((one) => !offered.has(one));
    return [...others, ...boxes.filter((box) => box.checked).map((box) => box.value)];
  }

  #boxes(name) {
    return [...byId("filters").querySelectorAll(`input[name="${name}"]`)];
  }

  #closeChoiceFromOutside() {
    const choice = byId("repositories-choice");
    document.addEventListener("click", (event) => {
      if (!choice.contains(event.target)) choice.open = false;
    });
    choice.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !choice.open) return;
      choice.open = false;
      choice.querySelector("summary").focus();
      event.stopPropagation();
    });
  }
}
