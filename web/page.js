// The page: sends pictures to POST /evaluate and shows their tags. The server returns the probabilities of all tags once; the
// page itself applies thresholds and categories.

import { drawHeat } from "./heat.js";

const CATEGORIES = "general artist contributor copyright character species invalid meta lore number rating".split(" ");
const MAX_REQUESTS = 4; // at the same time
const RETRY_MILLISECONDS = 1000;
const SEND_EVENTS_MILLISECONDS = 300; // after the last change

const $ = (selector, within = document) => within.querySelector(selector);
const results = []; // {file, md5, tags: {tag: probability}, verdicts: {tag: "added" | "rejected"}, seen: Set, heat: Map, card}
const hiddenCategories = new Set();
let model = null;
let rates = {};
let inFlight = 0;
const queue = [];

const modelLoaded = loadModel();

async function loadModel() {
  model = await (await fetch("model")).json();
  const names = Object.keys(model.tags);
  $("#model").textContent = `${model.version} · ${names.length.toLocaleString("en")} tags`;
  const present = [...new Set(names.map((name) => model.tags[name].category))].sort((a, b) => a - b);
  $("#categories").hidden = present.length < 2;
  for (const category of present) {
    const label = document.createElement("label");
    label.className = "check";
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      hiddenCategories[box.checked ? "delete" : "add"](category);
      results.forEach(draw);
    });
    label.append(box, ` ${CATEGORIES[category] ?? category}`);
    $("#categories").append(label);
  }
  $("#search").hidden = !model.search;
  await readRates();
}

async function search(event) {
  event.preventDefault();
  const response = await fetch(`search?q=${encodeURIComponent($("#sentence").value)}`);
  const matches = await response.json();
  $("#status").textContent = response.ok ? "" : matches.message;
  if (!response.ok) return;
  const pictures = matches.map(({ file, score, picture }) => {
    const link = Object.assign(document.createElement("a"), { href: picture, title: `${score.toFixed(2)} ${file}` });
    link.append(Object.assign(document.createElement("img"), { src: picture, alt: file, loading: "lazy" }));
    return link;
  });
  $("#matches").replaceChildren(...pictures);
}

async function readRates() {
  rates = await (await fetch("events")).json();
}

function add(files) {
  for (const file of files) {
    const card = $("#result").content.firstElementChild.cloneNode(true);
    const result = { file, tags: null, verdicts: {}, seen: new Set(), heat: new Map(), card };
    $("img", card).src = URL.createObjectURL(file);
    $("img", card).alt = file.name;
    $("img", card).addEventListener("error", () => {
      $(".picture", card).hidden = true;
      $("figcaption", card).textContent = `${file.name}: not shown, because this browser cannot read it`;
    });
    $("figcaption", card).textContent = file.name;
    $(".count", card).textContent = "tagging …";
    $(".remove", card).addEventListener("click", () => remove(result));
    for (const button of card.querySelectorAll(".copy")) button.addEventListener("click", () => copy(result, button));
    $("#results").prepend(card);
    results.push(result);
    queue.push(result);
  }
  send();
}

async function send() {
  while (inFlight < MAX_REQUESTS && queue.length) {
    inFlight++;
    showProgress();
    evaluate(queue.shift()).finally(() => {
      inFlight--;
      showProgress();
      send();
    });
  }
}

function showProgress() {
  const left = inFlight + queue.length;
  const all = results.length === 1 ? "1 picture" : `${results.length} pictures`;
  const tagged = results.filter((result) => result.tags).length;
  const done = tagged < results.length ? `${tagged} of ${all} tagged` : `${all} tagged`;
  $("#status").textContent = left ? `${left} of ${all} left …` : results.length ? done : "";
}

async function evaluate(result) {
  await modelLoaded;
  if (result.file.size > model.upload_bytes) return fail(result, `larger than ${Math.floor(model.upload_bytes / 2 ** 20)} MiB`);
  try {
    const response = await post("evaluate", result.file, { threshold: 0, limit: Object.keys(model.tags).length });
    const content = await response.json();
    if (!response.ok) return fail(result, content.message);
    result.tags = content[0].tags;
    result.md5 = response.headers.get("X-Picture-MD5");
    draw(result);
  } catch (error) {
    fail(result, `the server does not answer (${error.message})`);
  }
}

async function post(path, file, fields) {
  const form = new FormData();
  form.append("file", file, file.name || "pasted.png");
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (;;) {
    const response = await fetch(path, { method: "POST", body: form });
    if (response.status !== 503) return response;
    await new Promise((resume) => setTimeout(resume, RETRY_MILLISECONDS));
  }
}

function fail(result, reason) {
  const count = $(".count", result.card);
  count.textContent = reason;
  count.classList.add("error");
  for (const button of result.card.querySelectorAll(".copy")) button.hidden = true;
}

function shownTags(result) {
  const perTag = $("#own").checked;
  const threshold = Number($("#threshold").value);
  const predicted = new Set();
  for (const [tag, probability] of Object.entries(result.tags)) {
    const { implies, threshold: ownThreshold } = model.tags[tag];
    const isPredicted = result.verdicts[tag] === "added" || probability >= (perTag ? ownThreshold : threshold);
    if (isPredicted) for (const name of [tag, ...implies]) predicted.add(name);
  }
  return Object.entries(result.tags).filter(([tag]) => predicted.has(tag) && !hiddenCategories.has(model.tags[tag].category));
}

function draw(result) {
  if (!result.tags) return;
  const focused = result.card.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const shown = shownTags(result);
  const groups = new Map();
  for (const entry of shown) {
    const category = model.tags[entry[0]].category;
    groups.set(category, [...(groups.get(category) ?? []), entry]);
  }
  const sections = [...groups].sort(([a], [b]) => a - b).map(([category, entries]) => {
    const list = document.createElement("ul");
    list.append(...entries.map(([tag, probability]) => chip(result, tag, probability)));
    const heading = Object.assign(document.createElement("h3"), { textContent: CATEGORIES[category] ?? category });
    const section = document.createElement("section");
    section.append(...(groups.size > 1 ? [heading, list] : [list]));
    return section;
  });
  $(".groups", result.card).replaceChildren(...sections);
  $(".count", result.card).textContent = shown.length === 1 ? "1 tag" : shown.length ? `${shown.length} tags` : "no tag: move the slider to the left";
  if (focused) result.card.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  recordEvents(result, { seen: shown.map(([tag]) => tag).filter((tag) => !result.seen.has(tag)) });
}

function chip(result, tag, probability) {
  const item = $("#chip").content.firstElementChild.cloneNode(true);
  const name = $(".name", item);
  const percent = `${Math.round(100 * probability)} %`;
  item.style.setProperty("--probability", probability);
  $(".word", item).textContent = tag;
  $(".value", item).textContent = percent;
  name.setAttribute("aria-label", `${tag}, ${percent}${model.heat ? ": show where" : ""}`);
  name.dataset.key = `name ${tag}`;
  name.title = rateOf(tag);
  if (model.heat) {
    const show = () => showHeat(result, tag);
    const hide = () => {
      result.heatTag = null;
      $("canvas", result.card).classList.remove("shown");
    };
    item.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show());
    item.addEventListener("pointerleave", hide);
    name.addEventListener("focus", () => name.matches(":focus-visible") && show());
    name.addEventListener("blur", hide);
    name.addEventListener("click", show);
  }
  for (const [kind, selector, word] of [["added", ".accept", "right"], ["rejected", ".reject", "wrong"]]) {
    const button = $(selector, item);
    button.setAttribute("aria-label", `${tag} is ${word}`);
    button.title = word;
    button.dataset.key = `${kind} ${tag}`;
    button.setAttribute("aria-pressed", result.verdicts[tag] === kind);
    button.addEventListener("click", () => {
      if (result.verdicts[tag] === kind) delete result.verdicts[tag]; // a second click withdraws the verdict
      else result.verdicts[tag] = kind;
      recordEvents(result, { judged: [tag] });
      draw(result);
    });
  }
  if (result.verdicts[tag]) item.classList.add(result.verdicts[tag]);
  return item;
}

function rateOf(tag) {
  const counts = rates[tag];
  const judged = counts ? counts.added + counts.rejected : 0;
  return judged ? `marked right on ${counts.added} of ${judged} marked pictures, seen on ${counts.seen}` : "not marked yet";
}

// Events are sent when the slider has come to rest. If a tag was judged twice by then, the last verdict is sent.
let pendingEvents = new Map();
let timer = null;

function recordEvents(result, { seen = [], judged = [] }) {
  seen.forEach((tag) => result.seen.add(tag));
  const events = pendingEvents.get(result) ?? { seen: [], judged: new Set() };
  events.seen.push(...seen);
  judged.forEach((tag) => events.judged.add(tag));
  pendingEvents.set(result, events);
  clearTimeout(timer);
  timer = setTimeout(sendEvents, SEND_EVENTS_MILLISECONDS);
}

async function sendEvents() {
  const batch = pendingEvents;
  pendingEvents = new Map();
  for (const [result, { seen, judged }] of batch) {
    if (!seen.length && !judged.size) continue;
    const events = { picture: result.md5, seen, added: [], rejected: [], withdrawn: [] };
    for (const tag of judged) events[result.verdicts[tag] ?? "withdrawn"].push(tag);
    const body = JSON.stringify(events);
    await fetch("events", { method: "POST", headers: { "Content-Type": "application/json" }, body, keepalive: true });
  }
  await readRates();
}

async function showHeat(result, tag) {
  result.heatTag = tag;
  if (!result.heat.has(tag)) {
    const response = await post("heat", result.file, { tag });
    if (!response.ok) return;
    result.heat.set(tag, await response.json());
  }
  if (result.heatTag !== tag) return; // the pointer has moved on
  const { heat, resize } = result.heat.get(tag);
  const canvas = $("canvas", result.card);
  drawHeat(canvas, $("img", result.card), heat, resize);
  canvas.classList.add("shown");
}

async function copy(result, button) {
  const label = button.textContent;
  const chosen = shownTags(result).map(([tag]) => tag).filter((tag) => result.verdicts[tag] !== "rejected");
  try {
    await navigator.clipboard.writeText(chosen.join(button.dataset.with));
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed by the browser";
  }
  setTimeout(() => (button.textContent = label), 1200);
}

function remove(result) {
  URL.revokeObjectURL($("img", result.card).src);
  results.splice(results.indexOf(result), 1);
  if (queue.includes(result)) queue.splice(queue.indexOf(result), 1);
  result.card.remove();
  showProgress();
}

function showThreshold() {
  $("#threshold-value").textContent = $("#own").checked ? "own" : `${Math.round(100 * $("#threshold").value)} %`;
  results.forEach(draw);
}

$("#threshold").addEventListener("input", () => {
  $("#own").checked = false;
  showThreshold();
});
$("#own").addEventListener("change", showThreshold);
$("#search").addEventListener("submit", search);
$("#files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(event.dataTransfer.files);
});
