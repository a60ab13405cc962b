// What the report says of the chosen runs, and in what their configs differ.

import { aligned, ask, el, number, plural } from "./ui.js";

export async function compare(box, runs, close) {
  const head = el("div", { class: "cardhead" }, el("h2", { tabindex: "-1" }, `Compare ${plural(runs.length, "run")}`),
    el("button", { type: "button", class: "plain close", "aria-label": "Close", onclick: close }, "✕"));
  const body = el("div", { class: "compared" }, el("p", { class: "soft" }, "Comparing …"));
  box.replaceChildren(head, body);
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
  head.querySelector("h2").focus({ preventScroll: true });
  const parts = [];
  try {
    parts.push(...verdicts(await ask("/api/compare", { runs: runs.map((run) => run.id) })));
  } catch (error) {
    parts.push(el("p", { class: "notice" }, error.message));
  }
  parts.push(...differences(runs));
  body.replaceChildren(...parts);
}

const list = (value) => (Array.isArray(value) ? value : []);
const texts = (value) => list(value).filter((item) => typeof item === "string");

/** The report's sentences and scores, of whatever it has. */
function verdicts(report) {
  const parts = [];
  const pairs = list(report.pairs).filter((pair) => typeof pair?.sentence === "string");
  const told = ["better", "perhaps better"].flatMap((word) => pairs.filter((pair) => pair.verdict === word));
  if (told.length) parts.push(el("ul", { class: "verdicts" }, ...told.slice(0, 8).map((pair) => el("li", {}, pair.sentence))));
  if (pairs.length && !told.length) parts.push(el("p", {}, `These seeds cannot tell ${pairs.length === 1 ? "the two" : "any two"} apart.`));
  const groups = list(report.groups).filter((group) => group && typeof group === "object");
  if (groups.length) parts.push(scores(groups, report.metric_is ?? report.metric ?? "score"));
  const rest = pairs.filter((pair) => !told.slice(0, 8).includes(pair));
  if (rest.length) {
    parts.push(el("details", {}, el("summary", {}, plural(rest.length, told.length ? "more pair" : "pair")), el("ul", {}, ...rest.slice(0, 200).map((pair) => el("li", {}, pair.sentence)))));
  }
  const notes = [...texts(report.notes), ...groups.flatMap((group) => texts(group.notes).map((note) => `${group.label ?? group.name ?? ""}: ${note}`))];
  if (notes.length) parts.push(el("ul", { class: "soft notes" }, ...notes.map((text) => el("li", {}, text))));
  return parts;
}

function scores(groups, metric) {
  const format = aligned(groups.flatMap((group) => [group.iqm, group.median, group.best, ...list(group.interval)]));
  const rows = groups.map((group) => {
    const [low, high] = list(group.interval);
    const name = group.label ?? group.name ?? "";
    return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, number(group.seeds)), el("td", { class: "n" }, format(group.iqm)),
      el("td", { class: "n" }, Number.isFinite(low) ? `${format(low)} to ${format(high)}` : "–"), el("td", { class: "n" }, format(group.median)), el("td", { class: "n" }, format(group.best)));
  });
  const heads = ["Group", "Seeds", "IQM", "95 % interval", "Median", "Best"];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores" }, el("table", {}, el("caption", {}, String(metric)),
    el("thead", {}, el("tr", {}, ...heads.map((text, place) => el("th", { scope: "col", class: place ? "n" : "" }, text)))), el("tbody", {}, ...rows)));
}

/** A column for each distinct config, a row for each key in which they differ. */
function differences(runs) {
  const configs = new Map();
  for (const run of runs) {
    if (!configs.has(run.config)) configs.set(run.config, []);
    configs.get(run.config).push(run);
  }
  const firsts = [...configs.values()].map((group) => group[0]).slice(0, 12);
  const keys = [...new Set(firsts.flatMap((run) => Object.keys(run.values)))]
    .filter((key) => new Set(firsts.map((run) => run.values[key])).size > 1).sort();
  const title = el("h3", {}, "Config");
  if (!keys.length) return [title, el("p", { class: "soft" }, "The chosen runs have one config, seeds aside.")];
  const heads = firsts.map((run) => {
    const { length } = configs.get(run.config);
    return el("th", { scope: "col" }, run.label, length > 1 ? el("span", { class: "soft" }, ` and ${length - 1} more`) : null);
  });
  const rows = keys.map((key) => el("tr", {}, el("th", { scope: "row", class: "mono" }, key),
    ...firsts.map((run) => el("td", { class: "mono" }, run.values[key] ?? el("span", { class: "soft" }, "–")))));
  return [title, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Config" },
    el("table", { class: "diff" }, el("thead", {}, el("tr", {}, el("td"), ...heads)), el("tbody", {}, ...rows)))];
}
