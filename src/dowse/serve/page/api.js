// Step 7 of 7, serve: the page's calls to /v1. Adds the token where one is needed, turns what fails into an ApiError,
// reads event streams (EventSource cannot send a token), and tells when the server stops and starts answering.

import { byId } from "./dom.js";

const TOKEN = "dowse-token";
const RETRY_MS = 2000;

/** What the server refused, with its own sentence; status 0 means that there was no answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Dispatches "lost" when the server does not answer, "back" when it does again, and "token" when one was given. */
export const connection = new EventTarget();

let isLost = false;
let asking = null;
let token = remembered();

/** Call the API and return its JSON, null where there is none. `signal` gives up; `body` is sent as JSON. */
export async function call(path, { method = "GET", body, signal } = {}) {
  const answer = await send(path, { method, body, signal });
  const text = await answer.text().catch((error) => unanswered(error));
  return text ? JSON.parse(text) : null;
}

/** Iterate over the events of a stream as [name, data]; ends when the server ends it. */
export async function* events(path, { signal } = {}) {
  const answer = await send(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => unanswered(error));
      if (done) return;
      held += value;
      const blocks = held.split(/\r\n\r\n|\n\n/);
      held = blocks.pop();
      for (const block of blocks) {
        const event = parsed(block);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // a stream that failed cannot be cancelled, and need not be
  }
}

/** Read one block of an event stream; null for comments, which only keep the connection alive. */
function parsed(block) {
  let name = "message";
  const data = [];
  for (const line of block.split(/\r\n|\n/)) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? [name, JSON.parse(data.join("\n") || "null")] : null;
}

async function send(path, { method = "GET", body, signal } = {}, isSecondTry = false) {
  const headers = new Headers();
  const used = token;
  if (used) headers.set("Authorization", `Bearer ${token}`);
  if (body) headers.set("Content-Type", "application/json");
  const sent = { method, headers, signal, body: body && JSON.stringify(body) };
  const answer = await fetch(path, sent).catch((error) => unanswered(error));
  answered();
  if (answer.ok) return answer;
  if (answer.status === 401 && (await askForToken(used, isSecondTry))) {
    return send(path, { method, body, signal }, true);
  }
  const { message = `the server answered ${answer.status}` } =
    (await answer.json().catch(() => null))?.error ?? {};
  throw new ApiError(answer.status, message);
}

/** Ask for a token, once for all calls that wait for one; resolves to whether there is a new one. */
async function askForToken(refused, isSecondTry) {
  if (token !== refused) return true; // another call has asked meanwhile
  asking ??= new Promise((resolve) => {
    const dialog = byId("token");
    const field = byId("token-value");
    field.value = "";
    byId("token-said").textContent =
      refused || isSecondTry ? "That token was refused. Try another one." : "It is kept until this tab is closed.";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "use" && field.value.trim()), { once: true });
    dialog.showModal();
  });
  const given = await asking;
  asking = null;
  if (given) remember(given);
  return Boolean(given);
}

function remembered() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null; // storage may be forbidden; the token then lasts as long as the page
  }
}

function remember(given) {
  token = given;
  try {
    sessionStorage.setItem(TOKEN, given);
  } catch {
    // as above
  }
  connection.dispatchEvent(new Event("token"));
}

/** Tell a call that was given up from a server that does not answer. */
function unanswered(error) {
  if (error.name === "AbortError") throw error;
  if (!isLost) {
    isLost = true;
    connection.dispatchEvent(new Event("lost"));
    setTimeout(tryAgain, RETRY_MS);
  }
  throw new ApiError(0, "Dowse does not answer. Is dowse serve still running?");
}

function answered() {
  if (!isLost) return;
  isLost = false;
  connection.dispatchEvent(new Event("back"));
}

async function tryAgain() {
  if (!isLost) return;
  try {
    await fetch("v1/health", { cache: "no-store" });
    answered();
  } catch {
    setTimeout(tryAgain, RETRY_MS);
  }
}
