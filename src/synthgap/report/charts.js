// Charts: drawn as they come near, in the colours and the width of the page.

const dark = matchMedia("(prefers-color-scheme: dark)");
// By each grey on white, the one on black.
const NEUTRALS = JSON.parse(document.getElementById("neutrals").textContent);
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
  chart.drawn?.finalize();
  chart.drawn = await vegaEmbed(chart, suited(text, chart.clientWidth), {
    renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" },
    actions: { export: true, source: false, compiled: false, editor: false },
  });
  chart.classList.add("live");
  chart.querySelector("summary").setAttribute("aria-label", "Save this figure");
  const field = JSON.parse(text).usermeta?.series?.field;
  if (field) follow(chart.drawn.view, field, chart.parentElement.querySelectorAll("[data-series]"));
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
