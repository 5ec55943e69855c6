// Step 7 of 7, serve: elements of the page. Text only ever becomes a text node: nothing here, or anywhere in the
// page, hands a string to an HTML parser.

/** Return the element of an id; one that is missing is a fault of index.html, said at once. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no element #${id}`);
  return found;
}

/** Make an element from its name, attributes (false and null leave one out) and children (strings become text). */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && (value ?? null) !== null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A character that is obeyed or hidden rather than shown, as `display.visible` has them. */
export const UNSEEN = /(?![\t\n])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** Show such characters of a text by their number: names of files and what stands in them are other people's. */
export function visible(text) {
  return text.replace(
    new RegExp(UNSEEN, "gu"),
    (character) => `⟨${character.codePointAt(0).toString(16).padStart(2, "0")}⟩`,
  );
}

/** Copy the first element of a template of index.html. */
export function copyOf(template) {
  return byId(template).content.firstElementChild.cloneNode(true);
}

/** Say something to those who listen to the page. */
export function say(text) {
  byId("said").textContent = "";
  requestAnimationFrame(() => {
    byId("said").textContent = text;
  });
}

/** Write a count for people: 12,345 files. */
export function counted(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Whether the person asked for less motion. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
