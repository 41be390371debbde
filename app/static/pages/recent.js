// The recent messages on the administrator's page: how many each one reached, how many read it; taking back, sending again.

import { button, byId, clock, counted, element } from "./dom.js";
import { addressOf, here } from "./ids.js";

/** @typedef {{id: string, time: string, level: string | null, title: string, body: string, by: string, recipients: number, to: string[], reached: number, stored: number, duplicates: number}} Summary */
/** @typedef {{to: string, offset: number | null, readers?: {read: number, of: number}}} Delivery */
/** @typedef {{recipients: number, kept: number, read: number, deliveries: Delivery[]}} Status */
/** @typedef {Record<string, unknown> & {id: string}} Draft */
/** @typedef {{event: string, message: Record<string, unknown>, logs: string[]}} Content */
/** @typedef {{ask: (path: string, method: string) => Promise<any>, newId: () => string, sendAgain: (message: Draft) => Promise<boolean>, changed: () => void}} Means `sendAgain` tells whether that is over */

const PAGE = 10;
const ENVELOPE = new Set(["id", "time", "expires_at", "topic", "everyone"]);

/** @param {unknown} error */
function complain(error) {
  byId("recent-problem").textContent = error ? /** @type {Error} */ (error).message : "";
}

/** @param {string} text @param {string} about @param {() => Promise<void>} act */
const tool = (text, about, act) => button(text, () => act().then(() => complain(null), complain), `${text}: ${about}`);

/** Whether it went to a topic or to everyone, whose readers nobody can list. @param {string} name */
const isOpen = (name) => name === "everyone" || name.startsWith("topic:");

/** @param {Summary} message */
function reach({ recipients, to, reached, stored, duplicates }) {
  if (to.some(isOpen)) return `${reached > 0 ? "somebody was connected" : "nobody was connected"}${stored > 0 ? ", stored" : ", not stored"}`;
  const had = duplicates > 0 ? `, ${duplicates} had it already` : "";
  return `${counted(recipients, "recipient")}: ${reached} connected then, ${stored} stored${had}`;
}

/** @param {Summary} message */
function audience({ recipients, to, by }) {
  const rest = recipients > to.length ? ` and ${recipients - to.length} more` : "";
  return `by ${by}, to ${to.join(", ")}${rest}`;
}

/** What to publish to send a message again: one for the users, one for each topic, one for everyone.
 * @param {Content} sent @param {() => string} newId @returns {Draft[]} */
function copies({ event, message, logs }, newId) {
  const content = Object.fromEntries(Object.entries(message).filter(([name]) => !ENVELOPE.has(name)));
  const type = event === "message" ? {} : { event };
  const life = message.expires_at ? { ttl: Math.round((Date.parse(String(message.expires_at)) - Date.parse(String(message.time))) / 1_000) } : {};
  const users = logs.filter((name) => name.startsWith("user:")).map((name) => name.slice("user:".length));
  const targets = [
    ...(users.length > 0 ? [{ to: users }] : []),
    ...logs.filter((name) => name.startsWith("topic:")).map((name) => ({ topic: name.slice("topic:".length) })),
    ...(logs.includes("everyone") ? [{ everyone: true }] : []),
  ];
  return targets.map((target) => ({ id: newId(), ...type, ...content, ...life, ...target }));
}

/** Show the messages, and keep their list. @param {Means} means */
export function showRecent({ ask, newId, sendAgain, changed }) {
  /** @type {Map<string, Draft[]>} */
  const copying = new Map(); // id of a message → its copies that are not over: a lost answer's goes out again as it was
  let shown = PAGE;
  let turn = 0; // of refreshing: an older one stops when a newer one began
  const list = byId("recent");

  /** @param {string} id */
  async function copy(id) {
    const content = copying.has(id) ? null : await ask(addressOf("/messages", id, "/content"), "GET");
    const drafts = copying.get(id) ?? copies(content, newId);
    copying.set(id, drafts);
    const left = [];
    for (const draft of drafts) {
      if (!(await sendAgain(draft))) left.push(draft);
    }
    if (left.length > 0) copying.set(id, left);
    else copying.delete(id);
  }

  /** @param {Summary} message */
  function item(message) {
    const path = addressOf("/messages", message.id);
    const title = message.title || message.body || message.id;
    const readers = element("span", "readers");
    const tools = element("div", "buttons");

    async function countReaders() {
      /** @type {Status} */
      const { deliveries } = await ask(addressOf("/messages", message.id, "", { readers: "true" }), "GET");
      const counted = deliveries.map((each) => each.readers).find((each) => each !== undefined);
      if (counted) readers.textContent = ` · read by ${counted.read} of ${counted.of} known users`;
    }

    async function status() {
      if (message.stored === 0) return;
      /** @type {Status | null} */
      const told = await ask(path, "GET").catch(() => null);
      if (!told) {
        readers.textContent = " · retracted, or too old to be looked up";
        return;
      }
      if (!message.to.some(isOpen)) readers.textContent = ` · kept by ${told.kept}, read by ${told.read}`;
      else if (told.kept === 0) readers.textContent = " · not kept any more";
      else tools.prepend(tool("Count readers", title, countReaders));
      if (told.kept === 0) return;
      tools.append(tool("Retract", title, async () => {
        await ask(path, "DELETE");
        tools.replaceChildren();
        readers.textContent = " · retracted";
        changed();
      }));
      tools.append(tool("Send again", title, () => copy(message.id)));
    }

    const line = element("div", "line", element("h3", message.level ?? "", title), element("time", "", clock(message.time)));
    const [only] = message.to;
    if (message.recipients === 1 && only !== undefined && !isOpen(only)) {
      const query = new URLSearchParams({ user: only, message: message.id });
      const link = element("a", "button", "Did it arrive?");
      link.setAttribute("href", `${here("/admin/people/")}?${query}`);
      link.setAttribute("aria-label", `Did it arrive? ${title}`);
      tools.append(link);
    }
    const told = element("p", "hint", reach(message), readers);
    return { node: element("li", "", line, element("p", "hint", audience(message)), told, tools), status };
  }

  async function refresh() {
    const mine = (turn += 1);
    list.ariaBusy = "true"; // until all is known of each message, so that nobody acts on a list that is about to be replaced
    try {
      /** @type {{messages: Summary[]}} */
      const { messages } = await ask(`${here("/messages")}?limit=${shown + 1}`, "GET");
      if (mine !== turn) return;
      const items = messages.slice(0, shown).map(item);
      byId("none-recent").hidden = items.length > 0;
      byId("recent-more").hidden = messages.length <= shown;
      list.replaceChildren(...items.map(({ node }) => node));
      complain(null);
      for (const { status } of items) {
        if (mine === turn) await status(); // one after the other: each may be a list of a thousand
      }
    } catch (error) {
      if (mine === turn) complain(error);
    }
    if (mine === turn) list.ariaBusy = "false";
  }

  byId("recent-refresh").addEventListener("click", refresh);
  byId("recent-more").addEventListener("click", () => {
    shown += PAGE;
    refresh();
  });
  refresh();
  return { refresh };
}
