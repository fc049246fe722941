"use strict";
// The quiz's logic. The functions up to `start` touch no page, so that tests can call them.

/** Wilson's 95 % interval of a share, as in synthgap.metrics.intervals. */
function wilson(right, n) {
  const z2 = 1.959963984540054 ** 2;
  const p = right / n;
  const centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const half = Math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return [right === 0 ? 0 : centre - half, right === n ? 1 : centre + half];
}

/** What is told at the end. `key` holds {left, right, correct} a pair. */
function score(answers, key) {
  const n = answers.length;
  const right = answers.filter((answer, i) => answer.chosen === key[i].correct).length;
  if (n === 0) return { right, n, text: "You have answered no pair." };
  const percent = (share, digits) => (100 * share).toFixed(digits);
  const [low, high] = wilson(right, n);
  return {
    right,
    n,
    text: `You were right in ${right} of ${n} pairs: ${percent(right / n, 1)}\u00a0% ` +
      `(95\u00a0% interval ${percent(low, 0)} to ${percent(high, 0)}\u00a0%).`,
  };
}

function csvField(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The answers as CSV, a line a pair. */
function csvText(id, participant, answers, key) {
  const lines = [["quiz", "participant", "pair", "left", "right", "chosen", "correct", "seconds"]];
  answers.forEach((answer, i) => {
    const { left, right, correct } = key[i];
    const hit = answer.chosen === correct ? 1 : 0;
    const seconds = answer.seconds.toFixed(1);
    lines.push([id, participant, i + 1, left, right, answer.chosen, hit, seconds]);
  });
  return lines.map((line) => line.map(csvField).join(",") + "\n").join("");
}

function csvName(id, participant) {
  const plain = participant.normalize("NFKD").replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 40);
  return `answers-${id}-${plain}.csv`;
}

function decodeKey(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function start() {
  const $ = (id) => document.getElementById(id);
  const quiz = JSON.parse($("quiz").textContent);
  const source = (content) => `data:${quiz.type};base64,${content.trim()}`;
  const place = `synthgap-quiz-${quiz.id}`;
  const total = quiz.pairs.length;
  const fresh = () => ({ participant: "", started: false, stopped: false, at: 0, answers: [] });
  let state = load();
  let selected = null; // "left", "right" or nothing yet
  let since = null; // when this pair came into sight
  let spent = 0; // seconds on this pair before that
  let zoomed = null; // which side the zoom shows; null for an example

  function load() {
    try {
      return Object.assign(fresh(), JSON.parse(localStorage.getItem(place)));
    } catch {
      return fresh();
    }
  }

  function save() {
    try {
      localStorage.setItem(place, JSON.stringify(state));
    } catch {
      $("unsaved").hidden = false; // private windows may refuse
    }
  }

  function show(name) {
    for (const part of ["welcome", "pairs", "end"]) $(part).hidden = part !== name;
    document.body.dataset.part = name;
    window.scrollTo(0, 0);
  }

  function go() {
    if (!state.started) return show("welcome");
    if (state.stopped || state.at >= total) return finish();
    return ask();
  }

  function ask() {
    const [left, right] = quiz.pairs[state.at];
    $("left-image").src = source(left);
    $("right-image").src = source(right);
    const before = state.answers[state.at];
    spent = before ? before.seconds : state.spent || 0;
    since = document.hidden ? null : performance.now();
    select(before ? before.chosen : null);
    $("place").textContent = `Pair ${state.at + 1} of ${total}`;
    $("bar").value = state.at;
    $("back").disabled = state.at === 0;
    show("pairs");
  }

  function select(side) {
    selected = side;
    for (const one of ["left", "right"]) {
      $(`${one}-choose`).setAttribute("aria-pressed", String(one === side));
      $(`${one}-side`).classList.toggle("chosen", one === side);
    }
    $("next").disabled = side === null;
  }

  function elapsed() {
    return spent + (since === null ? 0 : (performance.now() - since) / 1000);
  }

  function confirm() {
    if (selected === null) return;
    state.answers[state.at] = { chosen: selected, seconds: elapsed() };
    state.at += 1;
    delete state.spent;
    save();
    go();
  }

  function back() {
    if (state.at === 0) return;
    state.at -= 1;
    delete state.spent;
    save();
    go();
  }

  /** Time on this pair counts while it can be seen, and after a reload too. */
  function pause() {
    if ($("pairs").hidden) return;
    if (document.hidden) {
      spent = elapsed();
      since = null;
      if (!state.answers[state.at]) state.spent = spent;
      save();
    } else if (since === null) {
      since = performance.now();
    }
  }

  function finish() {
    const key = decodeKey(quiz.key);
    const { text } = score(state.answers, key);
    $("score").textContent = text;
    $("who").textContent = state.participant;
    show("end");
  }

  function download() {
    const text = csvText(quiz.id, state.participant, state.answers, decodeKey(quiz.key));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = csvName(quiz.id, state.participant);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    $("saved").textContent = `Saved as ${link.download} among your downloads.`;
  }

  function zoom(address, label, side) {
    zoomed = side;
    $("zoom-image").src = address;
    $("zoom-image").alt = label;
    $("zoom-label").textContent = label;
    if (!$("zoom").open) $("zoom").showModal();
  }

  function zoomSide(side) {
    zoom($(`${side}-image`).src, side === "left" ? "Left image" : "Right image", side);
  }

  function keys(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || $("pairs").hidden) return;
    const arrow = { ArrowLeft: "left", ArrowRight: "right" }[event.key];
    if ($("zoom").open) {
      if (arrow && zoomed) zoomSide(arrow);
      else if (event.key !== "Enter" && event.key !== " " && event.key !== "z") return;
      else $("zoom").close();
      event.preventDefault();
    } else if (arrow) {
      select(arrow);
      event.preventDefault();
    } else if (event.key === "z") {
      zoomSide(selected || "left");
    } else if (event.key === "Enter" || event.key === " ") {
      // Keys on a button or on the examples' fold do what they do there, but for the choices:
      // after a click on one of them the key means "next".
      const on = event.target.closest("button, summary");
      if (on && !on.classList.contains("choose") && on.id !== "next") return;
      event.preventDefault();
      if (!event.repeat) confirm();
    }
  }

  for (const side of ["left", "right"]) {
    $(`${side}-choose`).onclick = () => select(side);
    $(`${side}-zoom`).onclick = () => zoomSide(side);
  }
  for (const reference of quiz.references) {
    const group = document.createElement("figure");
    const title = document.createElement("figcaption");
    title.textContent = reference.name;
    const row = document.createElement("div");
    reference.images.forEach((content, i) => {
      const button = document.createElement("button");
      const image = document.createElement("img");
      const label = `Example of ${reference.name}, ${i + 1} of ${reference.images.length}`;
      image.src = source(content);
      image.alt = label;
      button.type = "button";
      button.className = "zoom";
      button.append(image);
      button.onclick = () => zoom(image.src, label, null);
      row.append(button);
    });
    group.append(title, row);
    $("references").append(group);
  }
  $("next").onclick = confirm;
  $("back").onclick = back;
  $("stop").onclick = () => {
    // The score tells something of the answers so far, so there is no way back.
    if (!window.confirm("Stop here and see your score? You cannot go on after that.")) return;
    state.stopped = true;
    save();
    go();
  };
  $("save").onclick = download;
  $("another").onclick = () => {
    if (!window.confirm("Forget these answers, for the next participant? Save them first.")) return;
    state = fresh();
    $("saved").textContent = "";
    $("participant").value = "";
    save();
    go();
  };
  $("form").onsubmit = (event) => {
    event.preventDefault();
    const code = crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
    state = fresh();
    state.participant = $("participant").value.trim() || `anonymous-${code}`;
    state.started = true;
    save();
    go();
  };
  $("zoom").onclick = () => $("zoom").close();
  $("zoom").onclose = () => $("next").focus({ preventScroll: true });
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", pause);
  window.addEventListener("pagehide", () => {
    if ($("pairs").hidden || state.answers[state.at]) return;
    state.spent = elapsed();
    save();
  });
  go();
}

if (typeof document !== "undefined") start();
