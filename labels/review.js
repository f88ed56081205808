// Buttons yes and no on each card; the answers are saved as a table for clean.py --decisions.
const questions = [...document.querySelectorAll(".question")], save = document.getElementById("save");
const answered = () => questions.filter(question => question.dataset.answer);

for (const question of questions) {
  for (const button of question.children) {
    button.addEventListener("click", () => {
      question.dataset.answer = question.dataset.answer === button.dataset.answer ? "" : button.dataset.answer;
      for (const each of question.children) each.setAttribute("aria-pressed", each.dataset.answer === question.dataset.answer);
      save.disabled = !answered().length;
      document.getElementById("decided").textContent = `${answered().length} of ${questions.length} decided`;
    });
  }
}

save.addEventListener("click", () => {
  const quoted = text => `"${text.replaceAll('"', '""')}"`;
  const rows = answered().map(({dataset}) => [dataset.id, dataset.tag, dataset.answer].map(quoted).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["id,tag,decision", ...rows, ""].join("\n")], {type: "text/csv"}));
  link.download = "decisions.csv";
  link.click();
});
