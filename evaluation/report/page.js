// Sort and filter the table of tags. Rows are sorted by the data-v of a cell; cells without a value go last.
const table = document.getElementById("by-tag"), body = table.tBodies[0], rows = [...body.rows];
const query = document.getElementById("query"), kind = document.getElementById("kind"), shown = document.getElementById("shown");

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
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const matches = words.every(word => row.dataset.name.includes(word)) && (!kind.value || row.dataset.kinds.split("|").includes(kind.value));
    row.hidden = !matches;
    count += matches;
  }
  shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} tags`;
}

[...table.tHead.rows[0].cells].forEach((cell, column) => cell.querySelector("button")?.addEventListener("click", () =>
  sortBy(column, cell.getAttribute("aria-sort") ? cell.getAttribute("aria-sort") === "ascending" : column > 0)));
query.addEventListener("input", filter);
kind.addEventListener("change", filter);
filter();
