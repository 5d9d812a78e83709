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
      const number = text => /^[-−+]?[\d.]/.test(text) ? parseFloat(text.replaceAll(",", "").replace("−", "-")) : NaN;
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
// A command is copied with a button. A page that may not use the clipboard selects the command instead.
for (const command of document.querySelectorAll(".next code")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(command);
      button.textContent = "selected";
    }
  });
  command.after(" ", button);
}
// The index shows only rows that contain each of the words typed.
const filter = document.getElementById("filter");
if (filter) {
  const rows = [...document.querySelectorAll("table.filtered tbody tr")], found = document.getElementById("found");
  const said = rows.map(row => [...row.cells].map(cell => cell.querySelector("svg") ? "" : cell.textContent.toLowerCase()).join(" "));
  filter.closest(".controls").hidden = false;
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, at) => { row.hidden = !words.every(word => said[at].includes(word)); });
    found.textContent = words.length ? `${rows.filter(row => !row.hidden).length} of ${rows.length}` : "";
  });
}
// The detector is coloured for the iteration and the quantity that are chosen, on the scale of all iterations.
const detector = document.querySelector(".detector"), source = document.getElementById("pictures");
if (detector && source) {
  const quantities = JSON.parse(source.textContent);
  const iteration = document.getElementById("iteration"), quantity = document.getElementById("quantity");
  document.querySelector(".controls").hidden = false;
  const shortened = value => value.toLocaleString("en", { maximumSignificantDigits: 4 });
  const colour = share => `color-mix(in srgb,var(--${share > 0 ? "plus" : "minus"}) ${Math.round(100 * Math.abs(share))}%,var(--zero))`;
  const draw = () => {
    const { name, unit, most, values } = quantities[quantity.value], shown = values[iteration.value] ?? {};
    for (const element of detector.querySelectorAll("rect[data-key]")) {
      const key = element.dataset.key, given = shown[key] ?? "", words = typeof given === "number" ? shortened(given) : given, value = words ? parseFloat(words.replaceAll(",", "")) : null, title = element.querySelector("title");
      element.style.fill = value === null ? "url(#hatch)" : colour(most ? value / most : 0);
      title.textContent = `${key.length > 2 ? "module" : "layer"} ${key}: ${value === null ? "no number" : `${words.replace("-", "−").replace("±", " ± ")} ${unit}`.trim()}`;
    }
    const known = Object.keys(shown).length > 0, words = `${name}, iteration ${iteration.value}`;
    detector.setAttribute("aria-label", words);
    document.getElementById("shown").textContent = known ? words : `${words}, has no numbers`;
    for (const end of ["least", "most"]) document.getElementById(end).textContent = `${shortened(most)} ${unit}`.trim();
  };
  iteration.addEventListener("change", draw);
  quantity.addEventListener("change", draw);
}
