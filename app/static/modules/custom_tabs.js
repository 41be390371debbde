// The tabs that a page defines. Loaded by pages that define some.

/** @import { CustomTab, TabWish } from "./types.js" */

const BUILT_IN = ["all", "unread", "archived"];
const KINDS = /** @type {const} */ (["tag", "topic", "level"]);

/**
 * The tabs that a page wants: `all, unread, Billing=tag:billing`, or a list of such texts and of objects such as
 * `{ label: "Billing", tag: "billing" }`. Developers are told of others, which are left out. Without any, the usual ones.
 * @param {string | readonly (string | TabWish)[]} wanted @returns {CustomTab[]}
 */
export function tabsOf(wanted) {
  const list = typeof wanted === "string" ? wanted.split(",").map((text) => text.trim()).filter(Boolean) : wanted;
  const tabs = new Map(list.map(tabOf).filter((tab) => tab !== null).map((tab) => [tab.name, tab]));
  return tabs.size ? [...tabs.values()] : BUILT_IN.map((name) => ({ name }));
}

/** @param {string | TabWish} wish @returns {CustomTab | null} */
function tabOf(wish) {
  if (typeof wish === "string" && BUILT_IN.includes(wish)) return { name: wish };
  const { label, ...what } = typeof wish === "string" ? fromText(wish) : (wish ?? {});
  const kind = KINDS.find((each) => typeof what[each] === "string" && what[each] !== "");
  if (typeof label === "string" && label && kind) return { name: `${kind}:${what[kind]}`, label, kind, value: String(what[kind]) };
  console.warn(`Belfry: tabs: expected all, unread, archived, "Label=tag:name", "Label=topic:name" or "Label=level:name", got ${JSON.stringify(wish)}`);
  return null;
}

/** @param {string} text @returns {TabWish} */
function fromText(text) {
  const [, label = "", kind = "", value = ""] = /^(.+?)\s*=\s*(\w+)\s*:\s*(.+)$/.exec(text) ?? [];
  return { label, [kind]: value };
}
