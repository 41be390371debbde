// The administrator's page: who signed in, and what was done by hand, newest first. All of it only ever becomes text.

import { byId, clock, element } from "./dom.js";
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
  return element("tr", "", element("td", "", clock(entry.time ?? "")), ...COLUMNS.map((column) => element("td", "", entry[column] ?? "")));
}

/** Fetch the newest entries. */
export async function showAudit() {
  const answer = await fetch(`${here("/admin/audit")}?limit=${SHOWN}`).catch(() => null);
  problem.hidden = answer?.ok === true;
  if (!answer?.ok) return;
  /** @type {{entries: Record<string, string>[]}} */
  const { entries } = await answer.json();
  rows.replaceChildren(...entries.map(row));
}

byId("audit-refresh").addEventListener("click", showAudit);
showAudit();
