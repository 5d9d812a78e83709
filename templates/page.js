"use strict";
// Tables sort by the column whose heading is pressed: one of numbers by these, else by words, in which 2.9 is before 2.10.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = table.tHead.rows[0].cells;
  for (let column = 0; column < headings.length; column++) {
    const heading = headings[column], button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const number = text => /^[-+]?[\d.]/.test(text) ? parseFloat(text.replaceAll(",", "")) : NaN;
      const numeric = heading.matches(".n, [data-numbers]"), sign = up ? 1 : -1;
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
        const [m, n] = [number(x), number(y)];
        // What is no number comes last in either direction.
        return Number.isNaN(m) || Number.isNaN(n) ? Number.isNaN(m) - Number.isNaN(n) : sign * (m - n);
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  }
}
// Paper has nothing to press: what is folded is printed unfolded, and folded again afterwards.
const folded = () => document.querySelectorAll("details:not([open])");
addEventListener("beforeprint", () => { for (const part of folded()) { part.open = true; part.dataset.printed = ""; } });
addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-printed]")) { part.open = false; delete part.dataset.printed; }
});
// The detector is coloured for the iteration and the quantity that are chosen, by the scale of the page that was sent.
const detector = document.querySelector(".detector"), source = document.getElementById("pictures");
if (detector && source) {
  const { iterations, quantities, scale } = JSON.parse(source.textContent);
  const iteration = document.getElementById("iteration"), quantity = document.getElementById("quantity");
  const most = document.getElementById("most"), shown = document.getElementById("shown");
  document.querySelector(".controls").hidden = false;
  const colour = share => {
    const place = Math.min(Math.max(share, 0), 1) * (scale.length - 1), at = Math.min(Math.floor(place), scale.length - 2);
    return `rgb(${scale[at].map((low, i) => Math.round(low + (scale[at + 1][i] - low) * (place - at)))})`;
  };
  const draw = () => {
    const values = iterations[iteration.value][quantity.value] ?? {}, [title, unit] = quantities[quantity.value];
    const known = Object.values(values).filter(v => v !== null), largest = Math.max(0, ...known.map(Math.abs));
    for (const module of detector.querySelectorAll("rect[data-module]")) {
      const value = values[module.dataset.module] ?? null;
      module.setAttribute("fill", value === null ? "url(#hatch)" : colour(largest ? Math.abs(value) / largest : 0));
      module.querySelector("title").textContent =
        `module ${module.dataset.module}: ${value === null ? "no number" : `${value} ${unit}`.trim()}`;
    }
    detector.setAttribute("aria-label", `${title}, iteration ${iteration.value}`);
    shown.textContent = `${title}, iteration ${iteration.value}`;
    most.textContent = known.length ? `${Number(largest.toPrecision(4))} ${unit}`.trim() : "no module has a number";
  };
  iteration.addEventListener("change", draw);
  quantity.addEventListener("change", draw);
  draw();
}
