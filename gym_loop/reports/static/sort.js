"use strict";
// A press on the head of a column sorts its table; again: the other way round.
{
  // Text is compared with the numbers in it as numbers: lr=0.02 before lr=0.1, run 9 before run 10.
  const compare = (a, b) => {
    const [left, right] = [a, b].map(text => text.split(/(\d+(?:\.\d+)?)/));
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      const order = i % 2 ? left[i] - right[i] : left[i].localeCompare(right[i]);
      if (order) return order;
    }
    return left.length - right.length;
  };

  const sort = head => {
    const body = head.closest("table").tBodies[0];
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
  };

  document.addEventListener("click", ({ target }) => {
    const button = target.closest(".sortable thead button");
    if (button) sort(button.closest("th"));
  });
}
