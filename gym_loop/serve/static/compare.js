// What the report says of the chosen runs, and in what their configs differ.

import { ask, el, plural } from "./ui.js";

export async function compare(box, runs, close) {
  const head = el("div", { class: "cardhead" }, el("h2", { tabindex: "-1" }, `Compare ${plural(runs.length, "run")}`),
    el("button", { type: "button", class: "plain close", "aria-label": "Close", onclick: close }, "✕"));
  const body = el("div", { class: "compared" }, el("p", { class: "soft" }, "Comparing …"));
  box.replaceChildren(head, body);
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
  head.querySelector("h2").focus({ preventScroll: true });
  try {
    // Made by the server's templates, which escape every text; the page's policy lets no script of others run.
    body.innerHTML = (await ask("/api/compare", { runs: runs.map((run) => run.id) })).html;
  } catch (error) {
    body.replaceChildren(el("p", { class: "notice" }, error.message));
  }
}
