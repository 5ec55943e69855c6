// Step 7 of 7, serve: asking as a person types. One question at a time: a new one gives up the one before, whose
// answer, should it still come, is dropped.

import { ApiError, call, events } from "./api.js";
import { filterParams } from "./address.js";

/** How long typing pauses before a question is asked. */
const PAUSE_MS = 110;

const PAGE_SIZE = 20;

export class Asker {
  #waiting = 0;
  #giveUp = new AbortController();

  /**
   * @param {object} listener
   * @param {() => void} listener.asked a question is on its way, or will be once typing pauses.
   * @param {(answer: object, isFirst: boolean) => void} listener.answered an order of hits: the instant one, then the
   *   re-ranked one.
   * @param {() => void} listener.done the last order is there.
   * @param {(error: Error, isFirst: boolean) => void} listener.failed instead of an answer, the first or a later one.
   */
  constructor(listener) {
    this.listener = listener;
  }

  /** Ask what a state says, at once or when typing pauses. */
  ask(state, { soon = false } = {}) {
    this.stop();
    this.listener.asked();
    this.#waiting = setTimeout(() => this.#run(state), soon ? PAUSE_MS : 0);
  }

  /** Give up what is being asked. */
  stop() {
    clearTimeout(this.#waiting);
    this.#giveUp.abort();
    this.#giveUp = new AbortController();
  }

  async #run(state) {
    const { signal } = this.#giveUp;
    const tell = (what, ...details) => signal.aborted || this.listener[what](...details);
    let isFirst = true;
    try {
      for await (const answer of state.near ? near(state.near, signal) : stages(state, signal)) {
        tell("answered", answer, isFirst);
        isFirst = false;
      }
      tell("done");
    } catch (error) {
      if (error.name !== "AbortError") tell("failed", error, isFirst);
    }
  }
}

async function* stages(state, signal, offset = 0) {
  const params = pageParams(state, offset);
  for await (const [name, answer] of events(`v1/search/stream?${params}`, { signal })) {
    if (name === "error") throw new ApiError(500, answer.error.message);
    if (name === "done") return;
    yield answer;
  }
}

async function* near(place, signal) {
  const params = new URLSearchParams({ ...place, top_k: PAGE_SIZE, highlight: true });
  const answer = await call(`v1/similar?${params}`, { signal });
  // The place is what was asked: its words, which the server takes for the query's, mark nothing.
  yield { ...answer, hits: answer.hits.map((hit) => ({ ...hit, matches: [] })) };
}

/** Return the answer that goes on after the hits already shown, in the last order there is, as theirs is. */
export async function pageAfter(state, offset) {
  let last = null;
  for await (const answer of stages(state, undefined, offset)) last = answer;
  return last;
}

function pageParams(state, offset) {
  const params = filterParams(state);
  params.set("top_k", PAGE_SIZE);
  params.set("offset", offset);
  params.set("highlight", "true");
  return params;
}
