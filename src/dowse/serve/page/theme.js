// Step 7 of 7, serve: the page's colours. Runs before the first paint, so a chosen theme never flashes in.
// "system" follows prefers-color-scheme; "light" and "dark" are kept for later visits.
"use strict";

(() => {
  const order = ["system", "light", "dark"];
  const root = document.documentElement;
  const kept = () => {
    try {
      return localStorage.getItem("dowse-theme");
    } catch {
      return null; // storage may be forbidden; the choice then lasts as long as the page
    }
  };

  const show = (theme) => {
    root.dataset.theme = theme;
    const button = document.getElementById("theme-button");
    if (button) {
      button.textContent = { system: "◐", light: "○", dark: "●" }[theme];
      button.setAttribute("aria-label", `Colours: ${theme}`);
      button.title = `Colours: ${theme}`;
    }
    root.dispatchEvent(new Event("themechange"));
  };

  show(order.includes(kept()) ? kept() : "system");
  document.addEventListener("DOMContentLoaded", () => {
    show(root.dataset.theme);
    document.getElementById("theme-button").addEventListener("click", () => {
      const next = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
      try {
        localStorage.setItem("dowse-theme", next);
      } catch {
        // as above
      }
      show(next);
    });
  });
})();
