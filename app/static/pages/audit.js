// The administrator's page: who signed in, and what was done by hand, newest first. All of it only ever becomes text.

import { byId, clock, element } from "./dom.js";
import { here } from "./ids.js";

const COLUMNS = ["user", "what", "target", "message_id", "address"];
const SHOWN = 50;

const rows = byId("audit-entries");
const problem = byId("audit-problem");
let turn = 0; // of fetching: an answer that comes after a newer one was asked for is out of date

/** @param {Record<string, string> & {count?: number}} given */
function row(given) {
  const what = given.count ? `${given.action} × ${given.count}` : (given.action ?? "");
  /** @type {Record<string, string>} */
  const entry = { ...given, count: "", what };
  return element("tr", "", element("td", "", clock(entry.time ?? "")), ...COLUMNS.map((column) => element("td", "", entry[column] ?? "")));
}

/** Fetch the newest entries. */
export async function showAudit() {
  const mine = (turn += 1);
  /** @type {{entries: Record<string, string>[]} | null} */
  const told = await fetch(`${here("/admin/audit")}?limit=${SHOWN}`)
    .then((answer) => (answer.ok ? answer.json() : null))
    .catch(() => null);
  if (mine !== turn) return;
  problem.hidden = told !== null;
  if (told) rows.replaceChildren(...told.entries.map(row));
}

byId("audit-refresh").addEventListener("click", showAudit);
showAudit();
