// Images: a thumbnail opens what made it.
const dialog = document.getElementById("lineage");
if (dialog) {
  const told = JSON.parse(document.getElementById("images-told").textContent);
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
