// The page of improve.py: one question after another, answered by keyboard. Every answer is sent at once; the next question is
// shown without waiting for it. If an answer cannot be stored, the page says so and goes back to its question.

const $ = (selector) => document.querySelector(selector);
const KEYS = { y: "yes", n: "no", s: "skip", " ": "skip" };
let questions = []; // of this page
let position = 0; // of the question that is shown
let given = {}; // number of a question ▶ answer
let left = 0; // questions without an answer, this page included
let ended = false;

async function load() {
  const page = await (await fetch("questions")).json();
  questions = page.questions;
  left = page.left;
  position = 0;
  given = {};
  $("#run").textContent = `${page.run} · ${left.toLocaleString("en")} questions`;
  show();
}

function show() {
  const question = questions[position];
  $("#question").hidden = !question;
  $("#done").hidden = Boolean(question);
  $(".bar span").style.width = `${questions.length ? (100 * position) / questions.length : 100}%`;
  $(".bar").setAttribute("aria-valuenow", position);
  $("#back").disabled = position === 0;
  $("#back-done").hidden = questions.length === 0;
  if (ended) return;
  const counts = { yes: 0, no: 0, skip: 0 };
  for (const answer of Object.values(given)) counts[answer] += 1;
  const place = question ? `${position + 1} of ${questions.length}` : `${questions.length} asked`;
  $("#status").textContent = `${place} · ${counts.yes} yes, ${counts.no} no, ${counts.skip} skipped · answers are stored`;
  if (!question) {
    const more = left > questions.length;
    $("#next").hidden = !more;
    $("#done-title").textContent = questions.length ? "This page is done" : "There is nothing more to ask";
    $("#done-text").textContent = more ? "Answer more questions, or train with the answers so far." : "Train with the answers, or close the page.";
    return;
  }
  $("#tag").textContent = `${question.tag}?`;
  $("#question img").src = `pictures/${question.number}`;
  $("#question img").alt = `Picture ${question.id}`;
  $("#question figcaption").textContent = question.id;
  const label = question.labelled ? "yes" : "no";
  $("#facts").textContent = `Label of the board: ${label}. Network: ${Math.round(100 * question.probability)} %.`;
  const others = question.labels.filter((tag) => tag !== question.tag);
  $("#labels").textContent = others.join(", ") || "none";
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.setAttribute("aria-pressed", given[question.number] === button.dataset.answer);
  }
  const following = questions[position + 1];
  if (following) new Image().src = `pictures/${following.number}`; // read ahead
}

async function post(path, content) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(content), keepalive: true,
  });
  if (!response.ok) throw new Error(`status ${response.status}`);
}

let sending = Promise.resolve(); // one after another, so that of two answers to a question the later one is stored last

function answer(word) {
  const asked = position;
  const question = questions[asked];
  if (!question || ended) return;
  given[question.number] = word;
  position += 1;
  show();
  sending = sending.then(() => post("answers", { question: question.number, answer: word })).catch((error) => {
    delete given[question.number];
    position = Math.min(position, asked);
    show();
    $("#status").textContent = `The answer was not stored (${error.message}): is improve.py still running?`;
  });
}

function back() {
  if (position === 0 || ended) return;
  position -= 1;
  show();
}

async function next() {
  if ($("#done").hidden || $("#next").hidden || ended) return;
  await sending;
  await load();
}

async function train() {
  if (ended) return;
  await sending;
  try {
    await post("train", { train: true });
    ended = true;
    $("#question").hidden = $("#done").hidden = true;
    $("#train").disabled = true;
    $("#status").textContent = "improve.py is training now: its terminal shows the progress. You can close this page.";
  } catch (error) {
    $("#status").textContent = `improve.py does not answer (${error.message})`;
  }
}

for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => answer(button.dataset.answer));
$("#back").addEventListener("click", back);
$("#back-done").addEventListener("click", back);
$("#next").addEventListener("click", next);
$("#train").addEventListener("click", train);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  const onButton = event.target instanceof HTMLButtonElement;
  if (onButton && (key === " " || key === "enter")) return; // it presses the button
  if (key in KEYS) answer(KEYS[key]);
  else if (key === "b" || key === "backspace" || key === "arrowleft") back();
  else if (key === "enter") next();
  else if (key === "t") train();
  else return;
  event.preventDefault();
});
load();
