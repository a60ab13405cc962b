// Curves as SVG: zoom by dragging, seeds on hover, each point an episode that can be watched.
//
// Drawn by hand because no chart library that a Python package ships lives under this page's
// Content-Security-Policy: plotly (4.8 MB) and bokeh (1.3 MB) both write inline styles.

import { el, number, svg } from "./ui.js";

const HEIGHT = 340;
const EDGE = { left: 62, right: 14, top: 12, bottom: 40 };
const REACH = 40; // pixels within which a point is meant
const LARGEST = 1e300; // beyond, differences overflow: such a value is not drawn
const drawable = (v) => v !== null && Math.abs(v) <= LARGEST;
const SHAPES = [
  (x, y) => `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0`,
  (x, y) => `M${x - 3.5} ${y - 3.5}h7v7h-7z`,
  (x, y) => `M${x} ${y - 4.8}l4.6 8.2h-9.2z`,
  (x, y) => `M${x} ${y - 5}l5 5l-5 5l-5 -5z`,
];

export class Chart {
  /**
   * @param box where to draw.
   * @param watch called with {run, kind, first, last} of a point that is chosen.
   * @param zoom called with the two x of a stretch, or nulls for all of it.
   */
  constructor(box, { watch, zoom }) {
    this.box = box;
    this.watch = watch;
    this.zoom = zoom;
    this.groups = [];
    this.view = { axis: "steps", metric: "return", kind: "train", logX: false, logY: false, low: null, high: null };
    this.active = null;
    this.cursor = null;
    this.picture = svg("svg", { class: "plot", role: "application", tabindex: "0", "aria-describedby": "chart-help" });
    this.tip = el("div", { class: "tip", hidden: true });
    this.spoken = el("p", { class: "offscreen", role: "status" });
    box.append(this.picture, this.tip, this.spoken, el("p", { id: "chart-help", class: "offscreen" },
      "Arrow keys left and right go along a curve, up and down change the curve, Enter watches the episode, plus and minus zoom, Escape shows all."));
    new ResizeObserver(() => this.draw()).observe(box);
    this.picture.addEventListener("pointermove", (event) => this.move(event));
    this.picture.addEventListener("pointerleave", () => { if (!this.drag) this.show(null); });
    this.picture.addEventListener("pointerdown", (event) => this.press(event));
    this.picture.addEventListener("pointerup", (event) => this.release(event));
    this.picture.addEventListener("pointercancel", () => this.stopDrag());
    this.picture.addEventListener("dblclick", () => this.zoom(null, null));
    this.picture.addEventListener("keydown", (event) => this.key(event));
    this.picture.addEventListener("blur", () => this.show(null));
  }

  /**
   * @param groups [{name, colour, seeds: [{id, seed, x, y, first, last}], x, mean, low, high, count}].
   * @param view what is on the axes, and which stretch.
   */
  set(groups, view) {
    this.groups = groups;
    this.view = view;
    this.draw();
  }

  /** Bring one group forward, with its seeds; null: none. */
  highlight(place) {
    if (this.active === place) return;
    this.active = place;
    this.picture.classList.toggle("dim", place !== null);
    for (const node of this.picture.querySelectorAll(".curve")) {
      node.classList.toggle("on", Number(node.dataset.group) === place);
    }
    this.onactive?.(place);
  }

  draw() {
    const width = this.box.clientWidth;
    if (!width) return;
    this.width = width;
    this.inner = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
    this.picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.picture.setAttribute("height", HEIGHT);
    this.scales();
    this.picture.classList.toggle("many", this.groups.length > 5);
    const parts = [this.frame()];
    this.lines = [];
    this.groups.forEach((group, place) => parts.push(this.curve(group, place)));
    this.band = svg("rect", { class: "band-zoom", y: EDGE.top, height: this.inner.height, visibility: "hidden" });
    this.dot = svg("circle", { class: "dot", r: 5, visibility: "hidden" });
    parts.push(this.band, this.dot);
    this.picture.replaceChildren(...parts);
    const what = this.lines.length ? `${this.groups.length} curves of ${this.view.metric}` : "nothing to draw yet";
    this.picture.setAttribute("aria-label", `${what} over ${this.view.axis}`);
    const active = this.active;
    this.active = undefined;
    this.highlight(active !== null && active < this.groups.length ? active : null);
    if (this.shown) this.show(this.find(this.shown.key), true);
  }

  scales() {
    const { logX, logY, low, high } = this.view;
    const xs = [];
    const ys = [];
    const add = (x, y, kept) => {
      for (let i = 0; i < x.length; i += 1) {
        if (!drawable(y[i]) || !drawable(x[i]) || (low !== null && (x[i] < low || x[i] > high))) continue;
        if (kept) xs.push(x[i]);
        ys.push(y[i]);
      }
    };
    for (const group of this.groups) {
      for (const seed of group.seeds) xs.push(...ends(seed.x.filter(drawable)));
      if (group.mean.length > 1) {
        add(group.x, group.mean, true);
        add(group.x, group.low, false);
        add(group.x, group.high, false);
      } else for (const seed of group.seeds) add(seed.x, seed.y, true);
    }
    const range = (values, log) => {
      let a = Infinity;
      let b = -Infinity;
      for (const v of values) if (!log || v > 0) { a = Math.min(a, v); b = Math.max(b, v); }
      return a <= b ? [a, b] : [log ? 1 : 0, log ? 10 : 1];
    };
    const x = low === null ? range(xs, logX) : [logX ? Math.max(low, Number.MIN_VALUE) : low, high];
    const y = range(ys, logY);
    if (!logX && low === null && x[0] > 0 && x[0] < 0.35 * x[1]) x[0] = 0;
    const pad = logY ? 0 : (y[1] - y[0]) * 0.06 || Math.abs(y[1]) * 0.1 || 1;
    y[0] -= pad;
    y[1] += pad;
    if (x[0] === x[1]) x[1] = logX ? x[0] * 10 : x[0] + 1;
    if (logY) { y[0] *= 0.9; y[1] *= 1.1; }
    this.domain = { x, y };
    this.px = scale(x, EDGE.left, EDGE.left + this.inner.width, logX);
    this.py = scale(y, EDGE.top + this.inner.height, EDGE.top, logY);
  }

  frame() {
    const { left, top } = EDGE;
    const { width, height } = this.inner;
    const node = svg("g", { class: "frame", "aria-hidden": "true" });
    for (const y of ticks(this.domain.y, 5, this.view.logY)) {
      const at = this.py(y);
      node.append(svg("line", { x1: left, x2: left + width, y1: at, y2: at }),
        svg("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, brief(y)));
    }
    for (const x of ticks(this.domain.x, Math.max(2, Math.floor(width / 110)), this.view.logX)) {
      const at = this.px(x);
      node.append(svg("text", { x: at, y: top + height + 18, "text-anchor": "middle" }, brief(x)));
    }
    node.append(svg("line", { class: "base", x1: left, x2: left + width, y1: top + height, y2: top + height }),
      svg("text", { class: "axis", x: left + width, y: top + height + 35, "text-anchor": "end" }, this.view.axis),
      svg("defs", {}, svg("clipPath", { id: "inside" }, svg("rect", { x: left - 7, y: 0, width: width + 14, height: top + height + 7 }))));
    return node;
  }

  curve(group, place) {
    const node = svg("g", { class: `curve c${group.colour}`, "data-group": place, "clip-path": "url(#inside)" });
    const alone = group.mean.length < 2;
    const markers = this.view.kind === "eval";
    const points = (x, y) => {
      const list = [];
      for (let i = 0; i < x.length; i += 1) {
        const bad = !drawable(y[i]) || !drawable(x[i]) || (this.view.logY && y[i] <= 0) || (this.view.logX && x[i] <= 0);
        list.push(bad ? null : [this.px(x[i]), this.py(y[i])]);
      }
      return list;
    };
    if (!alone) {
      if (group.low[0] !== null) {
        const top = points(group.x, group.high).filter(Boolean);
        const bottom = points(group.x, group.low).filter(Boolean).reverse();
        if (bottom.length > 1) node.append(svg("path", { class: "band", d: `${path(top)}L${path(bottom).slice(1)}Z` }));
      }
      const list = points(group.x, group.mean);
      node.append(svg("path", { class: "mean", d: path(list) }));
      if (markers) node.append(svg("path", { class: "marker", d: marks(list, group.colour) }));
      this.lines.push({ place, seed: null, list, x: group.x, y: group.mean, data: group });
    }
    const seeds = svg("g", { class: alone ? "seeds alone" : "seeds" });
    for (const seed of group.seeds) {
      const list = points(seed.x, seed.y);
      seeds.append(svg("path", { class: "seed", d: path(list) }));
      if (markers || list.length < 3) seeds.append(svg("path", { class: "marker", d: marks(list, group.colour) }));
      this.lines.push({ place, seed, list, x: seed.x, y: seed.y, data: seed });
    }
    node.append(seeds);
    return node;
  }

  /** The point nearest to a place: of the means and single runs, then of that group's seeds. */
  nearest(x, y) {
    const best = (lines) => {
      let found = null;
      let least = REACH ** 2;
      for (const line of lines) {
        for (let i = 0; i < line.list.length; i += 1) {
          const point = line.list[i];
          if (!point || point[0] < EDGE.left - 1 || point[0] > EDGE.left + this.inner.width + 1) continue;
          const distance = (point[0] - x) ** 2 + (point[1] - y) ** 2;
          if (distance < least) { least = distance; found = { line, i }; }
        }
      }
      return found;
    };
    const plain = (line) => line.seed === null || this.groups[line.place].mean.length < 2;
    if (this.active !== null) {
      // On a seed of the group in front, this seed is meant, whatever else is near.
      const own = best(this.lines.filter((line) => line.place === this.active));
      if (own) return own;
    }
    return best(this.lines.filter(plain));
  }

  place(event) {
    const box = this.picture.getBoundingClientRect();
    return [(event.clientX - box.left) * (this.width / box.width), event.clientY - box.top];
  }

  move(event) {
    const [x, y] = this.place(event);
    if (this.drag) {
      const [a, b] = [Math.min(this.drag.x, x), Math.max(this.drag.x, x)];
      this.drag.moved ||= b - a > 5;
      if (this.drag.moved) {
        const start = Math.max(a, EDGE.left);
        this.band.setAttribute("x", start);
        this.band.setAttribute("width", Math.max(Math.min(b, EDGE.left + this.inner.width) - start, 0));
        this.band.setAttribute("visibility", "visible");
        this.show(null);
        return;
      }
    }
    const near = this.nearest(x, y);
    if (!near) this.highlight(null);
    this.show(near);
  }

  press(event) {
    if (event.button !== 0) return;
    this.drag = { x: this.place(event)[0], moved: false };
    this.picture.setPointerCapture(event.pointerId);
  }

  release(event) {
    if (!this.drag) return;
    const { x: from, moved } = this.drag;
    const [x, y] = this.place(event);
    this.stopDrag();
    if (moved) {
      const invert = (at) => this.px.invert(Math.min(Math.max(at, EDGE.left), EDGE.left + this.inner.width));
      const [low, high] = [invert(Math.min(from, x)), invert(Math.max(from, x))];
      if (high > low) this.zoom(low, high);
    } else {
      const near = this.nearest(x, y);
      if (near) { this.show(near); this.pick(near); }
    }
  }

  stopDrag() {
    this.drag = null;
    this.band?.setAttribute("visibility", "hidden");
  }

  /** Watch a point's episode; of a mean, the seed's that is nearest there. */
  pick({ line, i }) {
    let { seed } = line;
    if (!seed) {
      let least = Infinity;
      for (const other of this.groups[line.place].seeds) {
        for (let k = 0; k < other.x.length; k += 1) {
          const far = Math.abs(this.px(other.x[k]) - this.px(line.x[i])) + Math.abs(this.py(other.y[k] ?? 0) - this.py(line.y[i])) / 1000;
          if (other.y[k] !== null && far < least) { least = far; seed = other; i = k; }
        }
      }
    }
    if (seed && seed.first[i] !== null && seed.first[i] >= 0) {
      this.watch({ run: seed.id, kind: this.view.kind, first: seed.first[i], last: seed.last[i] });
    }
  }

  find(key) {
    const line = this.lines.find((other) => other.place === key.place && (other.seed?.id ?? null) === key.id);
    return line && line.list[key.i] ? { line, i: key.i } : null;
  }

  /** Point at a point, and say what it is. */
  show(point, quiet = false) {
    if (!point) {
      this.shown = null;
      this.tip.hidden = true;
      this.dot?.setAttribute("visibility", "hidden");
      if (!quiet) this.highlight(null);
      return;
    }
    const { line, i } = point;
    this.shown = { key: { place: line.place, id: line.seed?.id ?? null, i } };
    this.highlight(line.place);
    const [x, y] = line.list[i];
    this.dot.setAttribute("cx", x);
    this.dot.setAttribute("cy", y);
    this.dot.setAttribute("class", `dot c${this.groups[line.place].colour}`);
    this.dot.setAttribute("visibility", "visible");
    const words = this.words(line, i);
    this.tip.replaceChildren(...words.map((text, place) => el(place ? "div" : "b", {}, text)));
    this.tip.hidden = false;
    const right = x > this.width / 2;
    this.tip.style.left = right ? "auto" : `${x + 14}px`;
    this.tip.style.right = right ? `${this.width - x + 14}px` : "auto";
    this.tip.style.top = `${Math.max(0, y - 30)}px`;
    if (!quiet) this.spoken.textContent = words.join(", ");
  }

  words(line, i) {
    const group = this.groups[line.place];
    const { axis, metric, kind } = this.view;
    const x = line.x[i];
    const at = `${axis} ${number(axis === "hours" ? x : Math.round(x))}`;
    if (!line.seed) {
      const [low, high] = [group.low[i], group.high[i]];
      const interval = low === null || low === undefined ? "" : `95 % interval of the mean ${number(low)} to ${number(high)}`;
      return [group.name, at, `mean ${metric} ${number(line.y[i])}`, interval, `${group.count[i]} seeds`].filter(Boolean);
    }
    const { first, last, seed } = line.seed;
    const what = kind === "eval" ? "evaluation episode" : "episode";
    const which = first[i] < 0 ? "" : first[i] === last[i] ? `${what} ${first[i]}` : `${what}s ${first[i]} to ${last[i]}`;
    const name = seed === null || seed === undefined ? group.name : `${group.name}, seed ${seed}`;
    return [name, at, `${metric} ${number(line.y[i])}`, which, which && "click or Enter: watch"].filter(Boolean);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20 };
    const usable = this.lines?.filter((line) => line.list.some(Boolean)) ?? [];
    if (event.key === "Escape") this.zoom(null, null);
    else if (event.key === "+" || event.key === "=") this.zoomBy(0.5);
    else if (event.key === "-") this.zoomBy(2);
    else if (event.key === "Enter" && this.shown) {
      const point = this.find(this.shown.key);
      if (point) this.pick(point);
    } else if (!usable.length || !(event.key in steps || ["ArrowUp", "ArrowDown", "Home", "End"].includes(event.key))) return;
    else {
      const now = this.shown && this.find(this.shown.key);
      let line = now ? now.line : usable[0];
      let i = now ? now.i : line.list.findIndex(Boolean);
      if (event.key in steps && now) {
        for (let next = i + steps[event.key]; next >= 0 && next < line.list.length; next += Math.sign(steps[event.key])) {
          if (line.list[next]) { i = next; break; }
        }
      } else if (event.key === "Home") i = line.list.findIndex(Boolean);
      else if (event.key === "End") i = line.list.findLastIndex(Boolean);
      else if (event.key.startsWith("ArrowU") || event.key.startsWith("ArrowD")) {
        const place = usable.indexOf(line) + (event.key === "ArrowDown" ? 1 : -1);
        const x = line.x[i];
        line = usable[(place + usable.length) % usable.length];
        i = line.list.reduce((best, point, k) => (point && (best < 0 || Math.abs(line.x[k] - x) < Math.abs(line.x[best] - x)) ? k : best), -1);
      }
      this.show({ line, i });
    }
    event.preventDefault();
  }

  zoomBy(factor) {
    const [a, b] = this.domain.x;
    const at = this.shown && this.find(this.shown.key);
    const middle = at ? at.line.x[at.i] : (a + b) / 2;
    const half = ((b - a) * factor) / 2;
    this.zoom(Math.max(middle - half, 0), middle + half);
  }
}

function ends(values) {
  return values.length ? [values[0], values[values.length - 1]] : [];
}

function scale([a, b], from, to, log) {
  const f = log ? Math.log10 : (v) => v;
  const [fa, fb] = [f(a), f(b)];
  const map = (v) => from + ((f(v) - fa) / (fb - fa)) * (to - from);
  map.invert = (p) => { const v = fa + ((p - from) / (to - from)) * (fb - fa); return log ? 10 ** v : v; };
  return map;
}

function path(list) {
  let text = "";
  let pen = "M";
  for (const point of list) {
    if (!point) { pen = "M"; continue; }
    text += `${pen}${point[0].toFixed(1)} ${point[1].toFixed(1)}`;
    pen = "L";
  }
  return text;
}

function marks(list, colour) {
  const shape = SHAPES[colour % SHAPES.length];
  return list.filter(Boolean).map(([x, y]) => shape(Number(x.toFixed(1)), Number(y.toFixed(1)))).join("");
}

export function ticks([low, high], count, log) {
  if (log) {
    const all = [];
    const decades = Math.log10(high / low);
    const every = Math.max(1, Math.ceil(decades / count));
    for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += every) {
      for (const m of decades < 2 ? [1, 2, 5] : [1]) all.push(m * 10 ** e);
    }
    return all.filter((v) => v >= low && v <= high);
  }
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const all = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) all.push(Math.abs(v) < step * 1e-9 ? 0 : v);
  return all;
}

/** A tick's number: 12k, 1.5M, −0.25. */
export function brief(value) {
  const size = Math.abs(value);
  if (size >= 1e13) return value.toExponential(1).replace("-", "\u2212");
  for (const [unit, many] of [["G", 1e9], ["M", 1e6], ["k", 1e4]]) {
    if (size >= many) {
      const base = unit === "k" ? 1e3 : many;
      return `${Number((value / base).toPrecision(6))}${unit}`.replace("-", "\u2212");
    }
  }
  return size && size < 1e-4 ? value.toExponential(1).replace("-", "\u2212") : String(Number(value.toPrecision(6))).replace("-", "\u2212");
}
