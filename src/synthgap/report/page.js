// What makes the page react: charts, tables and the lineage of images.
import { jQuery } from "datatables";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

// --- Tables -------------------------------------------------------------------------------------

// What a cell is sorted by: its number, if it begins with one.
function sortable(cell) {
  const text = cell.textContent.replace(/[\s,]/g, "").replace("−", "-");
  const number = parseFloat(text);
  cell.dataset.order = Number.isNaN(number) ? cell.textContent.trim() : number;
  cell.dataset.type = Number.isNaN(number) ? "text" : "number";
}

const FILTERED_FROM = 7; // rows

for (const table of document.querySelectorAll(".scroll table")) {
  for (const cell of table.tBodies[0].rows.length ? table.querySelectorAll("tbody td") : []) sortable(cell);
  const region = table.closest(".scroll");
  const filter = table.tBodies[0].rows.length >= FILTERED_FROM;
  new jQuery.fn.dataTable.Api(jQuery(table).DataTable({
    paging: false, info: false, searching: filter, order: [], autoWidth: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
  }));
  if (filter) region.before(filterOf(jQuery(table).DataTable(), region.getAttribute("aria-label")));
}

function filterOf(table, label) {
  const input = document.createElement("input");
  Object.assign(input, { type: "search", placeholder: "Filter rows", className: "filter" });
  input.setAttribute("aria-label", `Filter the rows of: ${label}`);
  input.addEventListener("input", () => table.search(input.value).draw());
  return input;
}

// --- Charts -------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const NEUTRALS = read("neutrals"); // by colour on white, colour on black
const MARGIN = 90; // about what axis and labels take beside a panel, in pixels
const WIDEST_NARROW = 620;

// A specification as it suits colours and width of the page.
function suited(text, width) {
  if (dark.matches) text = text.replace(/#[0-9a-fA-F]{6}/g, (colour) => NEUTRALS[colour.toLowerCase()] ?? colour);
  const spec = JSON.parse(text);
  if (width < WIDEST_NARROW) {
    const most = Math.max(160, width - MARGIN);
    if (spec.concat) {
      // Panels under each other each need the names that only the first had beside them.
      spec.columns = 1;
      for (const panel of spec.concat) for (const layer of panel.layer ?? []) {
        for (const channel of Object.values(layer.encoding ?? {})) {
          if (channel?.axis?.labels === false) delete channel.axis.labels;
        }
      }
    }
    spec.config.legend = { ...spec.config.legend, columns: 2 };
    for (const panel of spec.concat ?? [spec]) if (panel.width > most) panel.width = most;
  }
  return spec;
}

async function show(chart) {
  const text = document.getElementById(chart.dataset.spec).textContent;
  const { view } = await vegaEmbed(chart, suited(text, chart.clientWidth), {
    renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" },
    actions: { export: true, source: false, compiled: false, editor: false },
  });
  chart.classList.add("live");
  chart.querySelector("summary").setAttribute("aria-label", "Save this figure");
  const field = JSON.parse(text).usermeta?.series?.field;
  if (field) follow(view, field, chart.parentElement.querySelectorAll("[data-series]"));
}

// The legend and the buttons are two ways to the same choice, which the chart keeps.
function follow(view, field, buttons) {
  const chosen = () => new Set(view.data("shown_store").flatMap((one) => one.values));
  for (const button of buttons) {
    button.onclick = () => {
      const names = chosen();
      if (!names.delete(button.dataset.series)) names.add(button.dataset.series);
      const fields = [{ type: "E", field }];
      view.data("shown_store", [...names].map((name) => ({ unit: "", fields, values: [name] }))).runAsync();
    };
  }
  view.addDataListener("shown_store", () => {
    for (const button of buttons) button.setAttribute("aria-pressed", chosen().has(button.dataset.series));
  });
}

// Charts are drawn as they come near; until then, and on paper, their picture stands there.
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    show(target);
  }
}, { rootMargin: "600px" });
const charts = [...document.querySelectorAll("[data-spec]")];
charts.forEach((chart) => near.observe(chart));

function again() {
  for (const chart of charts) if (chart.classList.contains("live")) show(chart);
}
dark.addEventListener("change", again);
let width = innerWidth, waiting;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(again, 200);
});

// --- Images -------------------------------------------------------------------------------------

const dialog = document.getElementById("lineage");
if (dialog) {
  const told = read("images-told");
  const thumbs = [...document.querySelectorAll("[data-image]")];
  const at = (selector) => dialog.querySelector(selector);
  let current = 0;

  const facts = (list, pairs) => list.replaceChildren(...pairs.flatMap(([name, text]) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.textContent = text;
    return [term, value];
  }));

  function open(number) {
    current = (number + thumbs.length) % thumbs.length;
    const image = told.images[thumbs[current].dataset.image];
    const small = thumbs[current].querySelector("img");
    at("h3").textContent = image.title;
    at(".lineage > img").src = small.src;
    at(".lineage > img").alt = small.alt;
    at(".lineage > img").classList.toggle("tiny", thumbs[current].classList.contains("tiny"));
    facts(at("dl"), image.facts);
    facts(at("details dl"), told.made[image.tar]);
    at("#lineage-why").textContent = image.why;
    at("pre").textContent = image.again;
    if (!dialog.open) dialog.showModal();
  }

  thumbs.forEach((thumb, number) => thumb.addEventListener("click", () => open(number)));
  at("#lineage-before").addEventListener("click", () => open(current - 1));
  at("#lineage-next").addEventListener("click", () => open(current + 1));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") open(current - 1);
    if (event.key === "ArrowRight") open(current + 1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => thumbs[current].focus());
  at("#lineage-copy").addEventListener("click", async (event) => {
    const text = at("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "Copied";
    } catch { // a page from disk may not write there: select it instead
      getSelection().selectAllChildren(at("pre"));
      event.target.textContent = "Selected";
    }
    setTimeout(() => (event.target.textContent = "Copy the command"), 1500);
  });
}
document.documentElement.dataset.ready = "yes";
