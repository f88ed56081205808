// Yes and no to each card, saved as a table that clean.py --decisions reads.
const doubts = [...document.querySelectorAll(".doubt")], save = document.getElementById("save");
const answered = () => doubts.filter(doubt => doubt.dataset.answer);

for (const doubt of doubts) {
  for (const button of doubt.children) {
    button.addEventListener("click", () => {
      doubt.dataset.answer = doubt.dataset.answer === button.dataset.answer ? "" : button.dataset.answer;
      [...doubt.children].forEach(each => each.setAttribute("aria-pressed", each.dataset.answer === doubt.dataset.answer));
      save.disabled = !answered().length;
      document.getElementById("decided").textContent = `${answered().length} of ${doubts.length} decided`;
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
