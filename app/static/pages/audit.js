// The administrator's page: who signed in, and what was done by hand, newest first. All of it only ever becomes text.

import { byId, element } from "./dom.js";
import { here } from "./ids.js";

const COLUMNS = ["user", "what", "target", "message_id", "address"];
const SHOWN = 50;

const rows = byId("audit-entries");
const problem = byId("audit-problem");

/** @param {Record<string, string> & {count?: number}} given */
function row(given) {
  const what = given.count ? `${given.action} × ${given.count}` : (given.action ?? "");
  /** @type {Record<string, string>} */
  const entry = { ...given, count: "", what };
  const time = new Date(entry.time ?? "").toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
  return element("tr", "", element("td", "", time), ...COLUMNS.map((column) => element("td", "", entry[column] ?? "")));
}

async function show() {
  const answer = await fetch(`${here("/admin/audit")}?limit=${SHOWN}`).catch(() => null);
  problem.hidden = answer?.ok === true;
  if (!answer?.ok) return;
  /** @type {{entries: Record<string, string>[]}} */
  const { entries } = await answer.json();
  rows.replaceChildren(...entries.map(row));
}

byId("audit-refresh").addEventListener("click", show);
show();
