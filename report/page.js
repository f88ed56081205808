// Sorting and filtering of the table of tags. A cell's data-v is what it sorts by; cells without a value go last.
const table = document.getElementById("by-tag"), body = table.tBodies[0], rows = [...body.rows];
const words = document.getElementById("words"), kind = document.getElementById("kind"), shown = document.getElementById("shown");

function sortBy(column, descending) {
  const value = row => row.cells[column].dataset.v;
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return descending ? -order : order;
  });
  body.append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, index) =>
    index === column ? cell.setAttribute("aria-sort", descending ? "descending" : "ascending") : cell.removeAttribute("aria-sort"));
}

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let number = 0;
  for (const row of rows) {
    const fits = wanted.every(word => row.dataset.name.includes(word)) && (!kind || !kind.value || row.dataset.kinds.split("|").includes(kind.value));
    row.hidden = !fits;
    number += fits;
  }
  shown.textContent = `${number.toLocaleString("en")} of ${rows.length.toLocaleString("en")} tags`;
}

[...table.tHead.rows[0].cells].forEach((cell, column) => cell.querySelector("button")?.addEventListener("click", () =>
  sortBy(column, cell.getAttribute("aria-sort") ? cell.getAttribute("aria-sort") === "ascending" : column > 0)));
words.addEventListener("input", filter);
kind?.addEventListener("change", filter);
filter();
