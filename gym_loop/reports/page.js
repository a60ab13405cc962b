"use strict";
// Text is compared with the numbers in it as numbers: lr=0.02 before lr=0.1, run 9 before run 10.
const compare = (a, b) => {
  const [left, right] = [a, b].map(text => text.split(/(\d+(?:\.\d+)?)/));
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const order = i % 2 ? left[i] - right[i] : left[i].localeCompare(right[i]);
    if (order) return order;
  }
  return left.length - right.length;
};

// A column's head sorts its table; again: the other way round.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const place = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => {
      const cell = row.children[place], text = cell.dataset.v ?? cell.textContent.trim();
      const number = text === "" || text === "–" ? NaN : Number(text);
      return { text, number, absent: text === "" || text === "–" };
    };
    const rows = [...body.rows].map(row => [value(row), row]);
    const numeric = rows.every(([v]) => v.absent || !Number.isNaN(v.number));
    rows.sort(([a], [b]) => {
      if (a.absent || b.absent) return a.absent - b.absent;  // always last
      const order = numeric ? a.number - b.number : compare(a.text, b.text);
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  });
}

// Pointing at a name, in a legend or a table, shows its curve alone.
for (const named of document.querySelectorAll("[data-group]")) {
  const curve = document.getElementById("curve-" + named.dataset.group);
  if (!curve) continue;
  const plot = curve.closest("svg");
  named.addEventListener("pointerenter", () => {
    plot.classList.add("dim");
    curve.classList.add("on");
  });
  named.addEventListener("pointerleave", () => {
    plot.classList.remove("dim");
    curve.classList.remove("on");
  });
}

// Pointing into a chart shows the values there.
const figure = x => Number(x.toPrecision(5)).toLocaleString("en");
for (const plot of document.querySelectorAll(".plot[data-curves]")) {
  const { right, curves } = JSON.parse(plot.dataset.curves);
  const tip = plot.querySelector(".tip"), cross = plot.querySelector(".cross");
  const hide = () => { tip.style.display = "none"; cross.style.visibility = "hidden"; };
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const step = share * right;
    tip.replaceChildren();
    const line = (left, value, colour) => {
      const row = document.createElement("div"), name = document.createElement("div");
      if (colour) {
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.color = `var(--c${colour})`;
        name.append(swatch);
      }
      name.append(left);
      row.append(name, value);
      tip.append(row);
    };
    line("steps", figure(Math.round(step)));
    for (const { name, colour, steps, mean } of curves) {
      const place = steps.findIndex(s => s >= step);
      if (place >= 0) line(name, figure(mean[place]), String(colour));
    }
    tip.style.display = "block";
    tip.style.left = share < .5 ? `calc(${share * 100}% + 12px)` : "auto";
    tip.style.right = share < .5 ? "auto" : `calc(${(1 - share) * 100}% + 12px)`;
    cross.style.visibility = "visible";
    cross.setAttribute("x1", share * 1000);
    cross.setAttribute("x2", share * 1000);
  });
}

// What is folded up is printed, too.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
