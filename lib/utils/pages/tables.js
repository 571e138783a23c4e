"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, kind = "", text = "") => {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  if (text) element.textContent = text;
  return element;
};

// Tables: a second press turns the order; cells without a value come last.
for (const table of all("table")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const sort = (head, column) => {
    const cells = [...body.rows].map(row => row.cells[column]);
    const numeric = cells.some(cell => "v" in cell.dataset);
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const compare = (a, b) => {
      if (!numeric) return sign * a.textContent.localeCompare(b.textContent);
      const [x, y] = [a.dataset.v, b.dataset.v];
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      return sign * (x - y);
    };
    body.append(...cells.sort(compare).map(cell => cell.parentNode));
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
  };
  heads.forEach((head, column) =>
    head.firstElementChild.addEventListener("click", () => sort(head, column)));
}
