// Step 7 of 7, serve: the list of hits as its order changes. Items that stay are the same elements, so what was opened
// stays open and the focus stays where it is; they glide to their new places unless less motion is asked for.

import { calm } from "./dom.js";
import { hitItem, keyOf } from "./hit.js";

const GLIDE = { duration: 320, easing: "cubic-bezier(.2, .7, .2, 1)" };

/** Show hits of another query; whoever has already gone to the hits is then at the best of these. */
export function replace(list, hits, about) {
  const isAmongHits = list.contains(document.activeElement);
  list.replaceChildren(...hits.map((hit) => hitItem(hit, about)));
  if (isAmongHits) list.querySelector(".hit")?.focus({ preventScroll: true });
}

/** Show hits of the query that is already shown, in their new order. */
export function settle(list, hits, about) {
  const before = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const tops = new Map([...before].map(([key, item]) => [key, item.getBoundingClientRect().top]));
  const focused = document.activeElement;
  const anchor = list.contains(focused) ? focused.closest("li") : null;
  const anchorTop = anchor?.getBoundingClientRect().top;

  list.replaceChildren(...hits.map((hit) => before.get(keyOf(hit)) ?? hitItem(hit, about)));

  let shift = 0;
  if (anchor?.isConnected) {
    focused.focus({ preventScroll: true });
    const moved = anchor.getBoundingClientRect().top - anchorTop;
    const scrolled = window.scrollY;
    window.scrollBy({ top: moved, behavior: "instant" }); // what is being read stays under the eyes
    shift = window.scrollY - scrolled;
  }
  if (!calm()) glide(list, tops, shift);
}

function glide(list, tops, shift) {
  for (const item of list.children) {
    const top = item.getBoundingClientRect().top;
    if (top > window.innerHeight * 1.5) break;
    const from = tops.get(item.dataset.key);
    if (from === undefined) {
      item.animate([{ opacity: 0 }, { opacity: 1 }], GLIDE);
    } else if (Math.abs(from - shift - top) > 1) {
      item.animate([{ transform: `translateY(${from - shift - top}px)` }, { transform: "none" }], GLIDE);
    }
  }
}
