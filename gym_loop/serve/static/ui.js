// What every page needs: elements made of text, numbers as people write them, requests.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. Text is never taken for markup: whatever a run is called, it is shown. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const $ = (name) => document.getElementById(name);

/** Ask the server; what it says is wrong becomes an Error. */
export async function ask(path, content) {
  let response;
  try {
    response = await fetch(path, content === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content),
    });
  } catch {
    throw new Error("no answer: has gym-loop serve been ended?");
  }
  if (response.status === 403) throw new Error("this page's token is of an earlier gym-loop serve; open the address that it printed");
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const MINUS = "\u2212";

/** A number to some significant digits: 1,234,567 · 0.0123 · −3.2e+9. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const size = Math.abs(value);
  let text;
  if (size && (size >= 1e9 || size < 1e-4)) text = value.toExponential(2);
  else if (Number.isInteger(value)) text = value.toLocaleString("en-US");
  else {
    const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size || 1)));
    text = Number(value.toFixed(Math.min(decimals, 8))).toLocaleString("en-US", { maximumFractionDigits: 8 });
  }
  return text.replace("-", MINUS);
}

/** A column's numbers, with one number of decimals for all of them. */
export function aligned(values) {
  const sizes = values.filter((v) => Number.isFinite(v)).map(Math.abs);
  const largest = Math.max(...sizes, 0);
  const whole = sizes.every(Number.isInteger);
  const decimals = whole ? 0 : Math.min(Math.max(3 - Math.floor(Math.log10(largest || 1)), 0), 4);
  const format = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return (value) => {
    if (!Number.isFinite(value)) return "";
    if (Math.abs(value) >= 1e12) return number(value);
    return value.toLocaleString("en-US", format).replace("-", MINUS);
  };
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const total = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  if (total >= 86400) return `${Math.floor(total / 86400)}d ${two(Math.floor((total % 86400) / 3600))}h`;
  if (total >= 3600) return `${Math.floor(total / 3600)}h ${two(Math.floor((total % 3600) / 60))}m`;
  if (total >= 60) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  return seconds < 1 ? "<1s" : `${total}s`;
}

export function bytes(count) {
  if (!Number.isFinite(count)) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (count >= 1000 && place < units.length - 1) { count /= 1000; place += 1; }
  return `${count >= 100 || place === 0 ? Math.round(count) : count.toFixed(1)} ${units[place]}`;
}

export function ago(seconds, now) {
  if (!Number.isFinite(seconds) || seconds <= 0) return "";
  const passed = Math.max(now - seconds, 0);
  if (passed < 60) return "just now";
  if (passed < 86400) return `${duration(passed).split(" ")[0]} ago`;
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

export const plural = (count, word) => `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`;

const MARKS = { running: "●", finished: "✓", failed: "✕", stopped: "■", paused: "‖", dead: "✕", damaged: "?" };

/** A run's state as a mark and a word, so that colour is never all that tells them apart. */
export function stateBadge(state, count) {
  const known = Object.hasOwn(MARKS, state) ? state : "other";
  return el("span", { class: `state ${known}` },
    el("i", { "aria-hidden": "true" }, known === "other" ? "·" : MARKS[state]), count === undefined ? state : `${count} ${state}`);
}

/** A group of buttons of which one is pressed. */
export function choice(label, options, value, change) {
  const box = el("div", { class: "choice", role: "group", "aria-label": label });
  for (const [key, text] of options) {
    box.append(el("button", {
      type: "button", "aria-pressed": String(key === value), "data-value": key,
      onclick: () => {
        for (const other of box.children) other.setAttribute("aria-pressed", String(other.dataset.value === key));
        change(key);
      },
    }, text));
  }
  return box;
}

export function setChoice(box, value) {
  for (const other of box.children) other.setAttribute("aria-pressed", String(other.dataset.value === value));
}

export function menu(label, options, value, change, hidden = false) {
  const select = el("select", { "aria-label": label, onchange: () => change(select.value) });
  setOptions(select, options, value);
  return el("label", { class: "menu" }, hidden ? null : el("span", { class: "label" }, label), select);
}

export function setOptions(select, options, value) {
  const same = select.options.length === options.length
    && options.every(([key, text], place) => select.options[place].value === key && select.options[place].text === text);
  if (!same) select.replaceChildren(...options.map(([key, text]) => el("option", { value: key }, text)));
  select.value = value;
}

/** A line to be copied into a terminal. */
export function command(text, what) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy the command: ${what ?? text}` }, "Copy");
  button.addEventListener("click", async () => {
    await copy(text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return el("div", { class: "command" }, el("code", { tabindex: "0" }, text), button);
}

async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch { /* not allowed here: the old way */ }
  }
  const area = el("textarea", { class: "offscreen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Call `work` again and again, `seconds` after it is done, while somebody looks at the page. */
export function repeat(work, seconds) {
  let timer = null;
  const turn = async () => {
    timer = null;
    if (document.hidden) return;
    await work();
    timer = setTimeout(turn, seconds * 1000);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && timer === null) turn(); });
  return turn();
}
