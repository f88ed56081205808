// The page: pictures ▶ POST /evaluate ▶ chips. The server gives every tag's probability once; what is shown is chosen here.

const CATEGORIES = ["general", "artist", "contributor", "copyright", "character", "species", "invalid", "meta", "lore", "number"];
const AT_ONCE = 4; // requests on their way
const RETRY_MILLISECONDS = 1000;

const $ = (selector, within = document) => within.querySelector(selector);
const results = []; // {file, md5, tags: {tag: probability}, verdicts: {tag: "added" | "rejected"}, seen: Set, heat: Map, card}
const hiddenCategories = new Set();
let model = null;
let rates = {};
let inFlight = 0;
const queue = [];

const loaded = start();

async function start() {
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
  const answer = await fetch(`search?q=${encodeURIComponent($("#sentence").value)}`);
  const found = await answer.json();
  $("#status").textContent = answer.ok ? "" : found.message;
  if (!answer.ok) return;
  const pictures = found.map(({ file, score, picture }) => {
    const link = Object.assign(document.createElement("a"), { href: picture, title: `${score.toFixed(2)} ${file}` });
    link.append(Object.assign(document.createElement("img"), { src: picture, alt: file, loading: "lazy" }));
    return link;
  });
  $("#found").replaceChildren(...pictures);
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
      $("figcaption", card).textContent = `${file.name}: not shown, this browser cannot read it`;
    });
    $("figcaption", card).textContent = file.name;
    $(".count", card).textContent = "looking …";
    $(".remove", card).addEventListener("click", () => remove(result));
    for (const button of card.querySelectorAll(".copy")) button.addEventListener("click", () => copy(result, button));
    $("#results").prepend(card);
    results.push(result);
    queue.push(result);
  }
  send();
}

async function send() {
  while (inFlight < AT_ONCE && queue.length) {
    inFlight++;
    tell();
    evaluate(queue.shift()).finally(() => {
      inFlight--;
      tell();
      send();
    });
  }
}

function tell() {
  const left = inFlight + queue.length;
  const all = results.length === 1 ? "1 picture" : `${results.length} pictures`;
  const tagged = results.filter((result) => result.tags).length;
  const done = tagged < results.length ? `${tagged} of ${all} tagged` : `${all} tagged`;
  $("#status").textContent = left ? `${left} of ${all} to go …` : results.length ? done : "";
}

async function evaluate(result) {
  await loaded;
  if (result.file.size > model.upload_bytes) return fail(result, `larger than ${Math.floor(model.upload_bytes / 2 ** 20)} MiB`);
  try {
    const answer = await post("evaluate", result.file, { threshold: 0, limit: Object.keys(model.tags).length });
    const content = await answer.json();
    if (!answer.ok) return fail(result, content.message);
    result.tags = content[0].tags;
    result.md5 = answer.headers.get("X-Picture-MD5");
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
    const answer = await fetch(path, { method: "POST", body: form });
    if (answer.status !== 503) return answer;
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
  const own = $("#own").checked;
  const threshold = Number($("#threshold").value);
  const given = new Set();
  for (const [tag, probability] of Object.entries(result.tags)) {
    const { implies, threshold: its } = model.tags[tag];
    if (result.verdicts[tag] === "added" || probability >= (own ? its : threshold)) for (const each of [tag, ...implies]) given.add(each);
  }
  return Object.entries(result.tags).filter(([tag]) => given.has(tag) && !hiddenCategories.has(model.tags[tag].category));
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
  const drawn = [...groups].sort(([a], [b]) => a - b).map(([category, entries]) => {
    const list = document.createElement("ul");
    list.append(...entries.map(([tag, probability]) => chip(result, tag, probability)));
    const heading = Object.assign(document.createElement("h3"), { textContent: CATEGORIES[category] ?? category });
    const group = document.createElement("section");
    group.append(...(groups.size > 1 ? [heading, list] : [list]));
    return group;
  });
  $(".groups", result.card).replaceChildren(...drawn);
  $(".count", result.card).textContent = shown.length === 1 ? "1 tag" : shown.length ? `${shown.length} tags` : "no tag: move the slider to the left";
  if (focused) result.card.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  note(result, { seen: shown.map(([tag]) => tag).filter((tag) => !result.seen.has(tag)) });
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
      result.wanted = null;
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
      if (result.verdicts[tag] === kind) delete result.verdicts[tag]; // a second click takes it back
      else result.verdicts[tag] = kind;
      note(result, { judged: [tag] });
      draw(result);
    });
  }
  if (result.verdicts[tag]) item.classList.add(result.verdicts[tag]);
  return item;
}

function rateOf(tag) {
  const counts = rates[tag];
  const judged = counts ? counts.added + counts.rejected : 0;
  return judged ? `right on ${counts.added} of ${judged} pictures judged, seen on ${counts.seen}` : "not judged yet";
}

// What is seen while the slider moves is told once it rests; of a tag judged twice by then, the last verdict.
let pending = new Map();
let timer = null;

function note(result, { seen = [], judged = [] }) {
  seen.forEach((tag) => result.seen.add(tag));
  const told = pending.get(result) ?? { seen: [], judged: new Set() };
  told.seen.push(...seen);
  judged.forEach((tag) => told.judged.add(tag));
  pending.set(result, told);
  clearTimeout(timer);
  timer = setTimeout(tellEvents, 300);
}

async function tellEvents() {
  const batch = pending;
  pending = new Map();
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
  result.wanted = tag;
  if (!result.heat.has(tag)) {
    const answer = await post("heat", result.file, { tag });
    if (!answer.ok) return;
    result.heat.set(tag, await answer.json());
  }
  if (result.wanted !== tag) return;
  const { heat, resize } = result.heat.get(tag);
  const image = $("img", result.card);
  const canvas = $("canvas", result.card);
  const small = document.createElement("canvas");
  [small.width, small.height] = [heat[0].length, heat.length];
  const pixels = heat.flatMap((row) => row.flatMap((value) => [255, 60, 0, 185 * value]));
  small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), small.width), 0, 0);
  [canvas.width, canvas.height] = [image.clientWidth, image.clientHeight];
  // The map lies over the network's square: the whole picture on a white square, its middle, or all of it squeezed.
  const scale = Math.min(canvas.width / image.naturalWidth, canvas.height / image.naturalHeight);
  const [width, height] = [scale * image.naturalWidth, scale * image.naturalHeight];
  const side = resize === "crop" ? Math.min(width, height) : Math.max(width, height);
  const [w, h] = resize === "squish" ? [width, height] : [side, side];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  canvas.classList.add("shown");
}

async function copy(result, button) {
  const words = button.textContent;
  const chosen = shownTags(result).map(([tag]) => tag).filter((tag) => result.verdicts[tag] !== "rejected");
  try {
    await navigator.clipboard.writeText(chosen.join(button.dataset.with));
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser forbids it";
  }
  setTimeout(() => (button.textContent = words), 1200);
}

function remove(result) {
  URL.revokeObjectURL($("img", result.card).src);
  results.splice(results.indexOf(result), 1);
  if (queue.includes(result)) queue.splice(queue.indexOf(result), 1);
  result.card.remove();
  tell();
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
