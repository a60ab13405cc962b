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
        swatch.className = `swatch c${colour}`;
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
