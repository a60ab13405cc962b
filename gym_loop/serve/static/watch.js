// Episodes played again: one, or two side by side, step by step, with rewards and actions below.

import { ask, choice, el, number, setChoice, svg } from "./ui.js";

const SPEEDS = [["0.25", "¼×"], ["1", "1×"], ["4", "4×"]];
const STRIP = { width: 600, height: 54 };

/** The card: up to two screens and what moves them. */
export class Watch {
  /** @param others returns the runs that may be watched beside the first: [{id, name}]. */
  constructor(box, others) {
    this.box = box;
    this.others = others;
    this.screens = [];
    this.step = 0;
    this.speed = 1;
    this.title = el("h2", { tabindex: "-1" }, "Watch");
    this.beside = el("select", { "aria-label": "A run beside this one", onchange: () => this.addBeside() });
    this.parts = el("button", { type: "button", class: "plain", hidden: true, onclick: () => this.toParting() }, "Where they part");
    this.parted = el("span", { class: "soft", role: "status" });
    this.stage = el("div", { class: "stage" });
    this.playing = el("button", { type: "button", class: "plain play", "aria-label": "Play", onclick: () => this.toggle() }, "▶");
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step", oninput: () => this.seek(Number(this.slider.value)) });
    this.where = el("output", { class: "mono" });
    const steps = (text, by, label) => el("button", { type: "button", class: "plain", "aria-label": label, onclick: () => this.seek(this.step + by) }, text);
    this.transport = el("div", { class: "transport", role: "group", "aria-label": "Playing", hidden: true },
      this.playing, steps("◀", -1, "One step back"), steps("▶|", 1, "One step on"), this.slider, this.where,
      choice("Speed", SPEEDS, "1", (v) => { this.speed = Number(v); for (const s of this.screens) s.video.playbackRate = this.speed; }));
    box.append(
      el("div", { class: "cardhead" }, this.title,
        el("label", { class: "menu" }, el("span", { class: "label" }, "Beside it"), this.beside), this.parts, this.parted,
        el("button", { type: "button", class: "plain close", "aria-label": "Close", onclick: () => this.close() }, "✕")),
      this.stage, this.transport);
    box.addEventListener("keydown", (event) => this.key(event));
  }

  /** Watch an episode; `which` is a number, best, worst or last. */
  async open({ run, name, kind, which, siblings = null }) {
    if (!this.screens.length) this.screens.push(new Screen(this));
    await this.start(this.screens[0], { run, name, kind, which, siblings });
  }

  /** Watch two runs. */
  async openBoth(one, two) {
    while (this.screens.length < 2) this.screens.push(new Screen(this));
    await Promise.all([this.start(this.screens[0], one), this.start(this.screens[1], two)]);
  }

  async start(screen, asked) {
    this.box.hidden = false;
    screen.asked = asked;
    this.layout();
    this.box.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    this.title.focus({ preventScroll: true });
    await screen.load(asked);
  }

  layout() {
    this.stage.replaceChildren(...this.screens.map((screen) => screen.box));
    this.stage.classList.toggle("two", this.screens.length > 1);
    const first = this.screens[0]?.asked;
    const others = this.others().filter((run) => run.id !== first?.run);
    this.beside.replaceChildren(el("option", { value: "" }, this.screens.length > 1 ? "nothing" : "choose a run"),
      ...others.map((run) => el("option", { value: run.id }, run.name)));
    this.beside.value = this.screens[1]?.asked?.run ?? "";
    this.parts.hidden = this.screens.length < 2;
    if (this.parts.hidden) this.parted.textContent = "";
  }

  addBeside() {
    const run = this.beside.value;
    if (!run) {
      this.screens.splice(1).forEach((screen) => screen.close());
      this.layout();
      this.refresh();
      return;
    }
    const { kind, which } = this.screens[0].asked;
    if (this.screens.length < 2) this.screens.push(new Screen(this));
    const { name } = this.others().find((other) => other.id === run);
    this.start(this.screens[1], { run, name, kind, which });
  }

  async toParting() {
    const [one, two] = this.screens.map((screen) => screen.asked);
    this.parted.textContent = "Looking …";
    try {
      const { episode, step, what } = await ask(`/api/part/${one.run}/${two.run}/${one.kind}`);
      this.parted.textContent = step === null ? `${what[0].toUpperCase()}${what.slice(1)}, up to episode ${episode}.` : `Episode ${episode}, step ${step}: ${what}.`;
      await Promise.all(this.screens.map((screen) => screen.load({ ...screen.asked, kind: one.kind, which: String(episode) }, step !== null)));
      this.seek(Math.max((step ?? 1) - 1, 0));
    } catch (error) {
      this.parted.textContent = error.message;
    }
  }

  get length() {
    return Math.max(0, ...this.screens.map((screen) => screen.episode?.length ?? 0));
  }

  /** Show a step on all screens. */
  seek(step) {
    this.pause();
    this.step = Math.min(Math.max(step, 0), this.length);
    for (const screen of this.screens) screen.seek(this.step);
    this.refresh();
  }

  refresh() {
    this.transport.hidden = !this.length;
    this.slider.max = this.length;
    this.slider.value = this.step;
    this.where.textContent = `step ${number(this.step)} / ${number(this.length)}`;
    for (const screen of this.screens) screen.point(this.step);
  }

  toggle() {
    if (this.timer) this.pause();
    else this.play();
  }

  play() {
    const ready = this.screens.filter((screen) => screen.ready);
    if (!ready.length) return;
    if (this.step >= this.length) this.step = 0;
    for (const screen of ready) {
      screen.seek(this.step);
      screen.video.playbackRate = this.speed;
      screen.video.play().catch(() => {});
    }
    this.playing.textContent = "❚❚";
    this.playing.setAttribute("aria-label", "Pause");
    const turn = () => {
      const going = ready.filter((screen) => !screen.video.ended && !screen.video.paused);
      const lead = going[0] ?? ready.find((screen) => screen.episode.length === this.length) ?? ready[0];
      this.step = Math.min(lead.now(), this.length);
      // Two films keep step by steps, not by seconds.
      for (const other of going.slice(1)) if (Math.abs(other.now() - this.step) > 1) other.seek(this.step);
      this.refresh();
      if (!going.length && ready.every((screen) => screen.video.ended || screen.video.paused)) {
        if (ready.every((screen) => screen.video.ended)) this.step = this.length;
        this.pause();
        this.refresh();
        return;
      }
      this.timer = requestAnimationFrame(turn);
    };
    this.timer = requestAnimationFrame(() => { this.timer = requestAnimationFrame(turn); });
  }

  pause() {
    if (this.timer) cancelAnimationFrame(this.timer);
    this.timer = null;
    for (const screen of this.screens) screen.video.pause();
    this.playing.textContent = "▶";
    this.playing.setAttribute("aria-label", "Play");
  }

  key(event) {
    if (["INPUT", "SELECT", "BUTTON", "A"].includes(event.target.tagName) && event.key !== "Escape") return;
    if (event.key === " ") this.toggle();
    else if (event.key === "ArrowLeft") this.seek(this.step - 1);
    else if (event.key === "ArrowRight") this.seek(this.step + 1);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }

  close() {
    this.pause();
    for (const screen of this.screens.splice(0)) screen.close();
    this.step = 0;
    this.box.hidden = true;
  }
}

/** One episode of one run. */
class Screen {
  constructor(owner) {
    this.owner = owner;
    this.video = el("video", { muted: true, playsinline: true, preload: "auto", tabindex: "0", "aria-label": "The episode" });
    this.video.muted = true;
    this.video.addEventListener("loadeddata", () => this.loaded());
    this.video.addEventListener("click", () => owner.toggle());
    this.video.addEventListener("error", () => { if (this.video.getAttribute("src")) this.say("This browser cannot play the film."); });
    this.overlay = el("div", { class: "overlay", role: "status" });
    this.name = el("a", { class: "name" });
    this.kinds = choice("Episodes", [["train", "Training"], ["eval", "Evaluation"]], "train", (kind) => this.load({ ...this.asked, kind, which: "last", siblings: null }));
    this.number = el("input", { type: "number", min: 0, class: "number", "aria-label": "Episode's number" });
    const form = el("form", { class: "pick", onsubmit: (event) => { event.preventDefault(); this.go(this.number.value); } },
      el("label", {}, el("span", { class: "label" }, "Episode"), this.number), el("button", { class: "plain" }, "Watch"));
    const words = el("span", { class: "words", role: "group", "aria-label": "Which episode" },
      ...["Best", "Worst", "Last"].map((word) => el("button", { type: "button", class: "plain", onclick: () => this.go(word.toLowerCase()) }, word)));
    this.siblings = el("p", { class: "siblings" });
    this.facts = el("p", { class: "facts-line" });
    this.strips = el("div", { class: "strips" });
    this.box = el("article", { class: "screen" },
      el("div", { class: "screenhead" }, this.name, this.kinds), el("div", { class: "screenhead" }, form, words),
      this.siblings, el("div", { class: "picture" }, this.video, this.overlay), this.facts, this.strips);
  }

  go(which) {
    if (which !== "") this.load({ ...this.asked, which: String(which), siblings: null });
  }

  /** @param still whether the film waits at the step that is shown, once it is there. */
  async load(asked, still = false) {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.asked = asked;
    this.still = still;
    this.clear();
    this.name.textContent = asked.name;
    this.name.href = `/run/${asked.run}`;
    setChoice(this.kinds, asked.kind);
    this.say("Reading the recording …");
    try {
      const episode = await ask(`/api/episode/${asked.run}/${asked.kind}/${encodeURIComponent(asked.which)}`);
      if (turn !== this.turn) return;
      this.episode = episode;
      this.number.value = episode.episode;
      this.asked.which = String(episode.episode);
      this.describe();
      this.drawStrips();
      this.showSiblings();
      this.owner.step = 0;
      this.owner.refresh();
      await this.film(turn);
    } catch (error) {
      if (turn === this.turn) this.say(error.message, "bad");
    }
  }

  clear() {
    this.owner.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.ready = false;
    this.episode = null;
    this.difference = undefined;
    this.facts.replaceChildren();
    this.strips.replaceChildren();
    this.siblings.replaceChildren();
  }

  close() {
    this.turn = -1;
    this.clear();
  }

  say(text, kind = "") {
    this.overlay.className = `overlay ${kind}`;
    this.overlay.replaceChildren(el("p", {}, text));
    this.overlay.hidden = !text;
  }

  async film(turn) {
    const { run, kind } = this.asked;
    let answer = await ask("/api/watch", { run, kind, episode: this.episode.episode });
    if (turn !== this.turn) return;
    if (answer.state === "trust") {
      this.askTrust(answer.folder, turn);
      return;
    }
    while (answer.state === "playing") {
      this.say(`Playing it again in a process of its own … ${Math.round(answer.seconds)} s`);
      await new Promise((done) => setTimeout(done, 300));
      if (turn !== this.turn) return;
      answer = await ask(`/api/film/${answer.film}`);
      if (turn !== this.turn) return;
    }
    if (answer.state === "failed") {
      this.say(answer.reason, "bad");
      return;
    }
    this.difference = answer.difference;
    this.describe();
    this.say("");
    this.video.src = `/film/${answer.film}`;
  }

  askTrust(folder, turn) {
    const button = el("button", { type: "button", class: "primary" }, "Trust this folder and watch");
    button.addEventListener("click", async () => {
      try {
        await ask("/api/trust", { run: this.asked.run });
        await Promise.all(this.owner.screens.filter((screen) => screen.episode).map((screen) => screen.film(screen.turn)));
      } catch (error) {
        if (turn === this.turn) this.say(error.message, "bad");
      }
    });
    this.overlay.className = "overlay ask";
    this.overlay.hidden = false;
    this.overlay.replaceChildren(
      el("p", {}, "To be watched, an episode is played again: that runs the environment's code which these runs name, as gym-loop replay does. Nothing of theirs has been run so far."),
      el("p", { class: "mono" }, folder), button);
  }

  loaded() {
    this.ready = true;
    this.rate = (this.episode.length + 1) / this.video.duration;
    this.seek(this.owner.step);
    if (!this.still && this.owner.screens.every((screen) => screen.ready || !screen.episode) && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.owner.play();
  }

  /** The step that the film shows. */
  now() {
    return Math.min(Math.floor(this.video.currentTime * this.rate + 1e-3), this.episode.length);
  }

  seek(step) {
    if (this.ready && Number.isFinite(this.rate)) {
      this.video.currentTime = Math.min((Math.min(step, this.episode.length) + 0.5) / this.rate, this.video.duration);
    }
  }

  describe() {
    const { episode, length, ended, seed } = this.episode;
    const verdict = this.difference === undefined ? null
      : this.difference ? el("strong", { class: "bad" }, `not as recorded: ${this.difference}`)
        : el("strong", { class: "good" }, "✓ every reward as recorded");
    this.facts.replaceChildren(
      `${this.asked.kind === "eval" ? "Evaluation episode" : "Episode"} ${episode} · ${number(length)} steps · return ${number(this.episode.return)}${ended ? ` · ${ended}` : ""} · seed ${seed}`,
      verdict ? el("br") : "", verdict ?? "");
  }

  showSiblings() {
    const { siblings } = this.asked;
    if (!siblings || siblings.last <= siblings.first) return;
    const all = [];
    for (let n = siblings.first; n <= siblings.last && all.length < 30; n += 1) {
      all.push(el("button", { type: "button", class: "plain", "aria-current": n === this.episode.episode ? "true" : null,
        onclick: () => this.load({ ...this.asked, which: String(n) }) }, String(n)));
    }
    this.siblings.replaceChildren(el("span", { class: "label" }, "This evaluation's"), ...all);
  }

  drawStrips() {
    const { rewards, actions, every, length } = this.episode;
    const rows = [["reward", rewards, false], ...actions.map((part) => [`action${part.name ? ` ${part.name}` : ""}`, part.y, part.whole])];
    this.cursors = [];
    this.strips.replaceChildren(...rows.map(([name, y, whole]) => {
      const cursor = svg("line", { class: "cursor", y1: 0, y2: STRIP.height, x1: 0, x2: 0 });
      const now = el("span", { class: "mono" });
      const picture = svg("svg", { viewBox: `0 0 ${STRIP.width} ${STRIP.height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("path", { class: "trace", d: stairs(y, every, length) }), cursor);
      picture.addEventListener("click", (event) => {
        const box = picture.getBoundingClientRect();
        this.owner.seek(Math.round(((event.clientX - box.left) / box.width) * length));
      });
      this.cursors.push({ cursor, now, y, whole });
      return el("div", { class: "strip" }, el("div", { class: "striphead" }, el("span", { class: "label" }, name), now), picture);
    }));
  }

  /** Mark a step below the picture. */
  point(step) {
    if (!this.episode) return;
    const { every, length } = this.episode;
    const own = Math.min(step, length);
    for (const { cursor, now, y } of this.cursors ?? []) {
      const x = (own / Math.max(length, 1)) * STRIP.width;
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      // What is drawn at step k is what the step from k - 1 gave.
      now.textContent = own ? number(y[Math.floor((own - 1) / every)], 4) : "–";
    }
  }
}

function stairs(y, every, length) {
  const sound = y.filter((v) => v !== null);
  if (!sound.length) return "";
  const low = sound.reduce((a, b) => Math.min(a, b));
  const half = sound.reduce((a, b) => Math.max(a, b)) / 2 - low / 2; // the whole span may overflow
  const at = (v) => (half ? 4 + (1 - (v / 2 - low / 2) / half) * (STRIP.height - 8) : STRIP.height / 2);
  let text = "";
  y.forEach((v, place) => {
    if (v === null) return;
    const [from, to] = [place * every, Math.min((place + 1) * every, length)].map((s) => ((s / length) * STRIP.width).toFixed(1));
    text += `${text ? "L" : "M"}${from} ${at(v).toFixed(1)}L${to} ${at(v).toFixed(1)}`;
  });
  return text;
}
