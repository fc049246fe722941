// Tables: sorted by a click on a heading, and filtered where they are long.
import { jQuery } from "datatables";

// What a cell is sorted by: its number, if it begins with one.
function sortable(cell) {
  if ("order" in cell.dataset) return;
  const text = cell.textContent.replace(/[\s,]/g, "").replace("−", "-");
  const number = parseFloat(text);
  cell.dataset.order = Number.isNaN(number) ? cell.textContent.trim() : number;
}

const FILTERED_FROM = 7; // rows

for (const table of document.querySelectorAll(".scroll table")) {
  table.querySelectorAll("tbody td").forEach(sortable);
  const region = table.closest(".scroll");
  const filter = table.tBodies[0].rows.length >= FILTERED_FROM;
  const shown = jQuery(table).DataTable({
    paging: false, info: false, searching: filter, order: [], autoWidth: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
  });
  if (filter) region.before(filterOf(shown, region.getAttribute("aria-label")));
}

function filterOf(table, label) {
  const input = document.createElement("input");
  Object.assign(input, { type: "search", placeholder: "Filter rows", className: "filter" });
  input.setAttribute("aria-label", `Filter the rows of: ${label}`);
  input.addEventListener("input", () => table.search(input.value).draw());
  return input;
}
