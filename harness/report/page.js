// Sorts a table by the column whose heading was pressed; cells carry their number in data-key.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    const cells = [...body.rows].map((row) => row.cells[column]);
    const isNumber = cells.some((cell) => cell.dataset.key !== undefined);
    const value = (row) => {
      const cell = row.cells[column];
      return isNumber ? Number(cell.dataset.key) : cell.textContent; // NaN where there is no key
    };
    const missing = (item) => item === "" || Number.isNaN(item);
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      const sign = ascending ? 1 : -1;
      return sign * (isNumber ? x - y : x.localeCompare(y));
    };
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    body.append(...[...body.rows].sort(order));
  });
}
