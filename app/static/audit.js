// The administrator's page: who signed in, and what was done by hand, newest first. All of it only ever becomes text.

const COLUMNS = ["time", "user", "action", "target", "message_id", "address"];
const SHOWN = 50;

const rows = document.getElementById("audit-entries");
const problem = document.getElementById("audit-problem");

/** A table's row or cell. */
function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

async function show() {
  const answer = await fetch(`/admin/audit?limit=${SHOWN}`).catch(() => null);
  problem.hidden = answer?.ok === true;
  if (!answer?.ok) return;
  const { entries } = await answer.json();
  rows.replaceChildren(
    ...entries.map((entry) => element("tr", "", ...COLUMNS.map((column) => element("td", "", entry[column])))),
  );
}

document.getElementById("audit-refresh").addEventListener("click", show);
show();
