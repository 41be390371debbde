// The page `/admin/people/`: who is connected, ending connections, and the flight recorder of one user.

import { offerUsers } from "./search.js";

/** @typedef {{id: string, since: string, address: string, agent: string, topics: string[]}} Connection */
/** @typedef {{time: string, what: string, connection: string, offset: number, reason?: string, lost?: boolean}} Flight */
/** @typedef {{newest: number, oldest: number, kept: number, unread: number}} Log */

const REFRESH_MS = 5_000;

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {string} name @param {string} className @param {...(Node | string)} children */
function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

/** @param {string} text @param {() => void} click */
function button(text, click) {
  const made = element("button", "quiet", text);
  made.addEventListener("click", click);
  return made;
}

/** @param {string} path @param {string} [method] @returns {Promise<any>} null where nothing is answered */
async function ask(path, method = "GET") {
  const answer = await fetch(path, { method });
  const told = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  byId("problem").textContent = "";
  return told;
}

/** @param {string} time RFC 3339 */
const clock = (time) => new Date(time).toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });

/** @param {unknown} error */
function complain(error) {
  byId("problem").textContent = error instanceof TypeError ? "No answer from the server." : String(/** @type {Error} */ (error).message);
}

/** @param {string} user @param {Connection[]} connections */
function onlineItem(user, connections) {
  const lines = connections.map(({ since, address, agent }) => element("li", "live", `since ${clock(since)} from ${address}, ${agent || "unknown program"}`));
  const tools = element("div", "buttons", button("What happened", () => show(user)), button("Disconnect", () => disconnect(user)));
  const count = connections.length === 1 ? "1 connection" : `${connections.length} connections`;
  return element("li", "", element("div", "line", element("h3", "", user), count), element("ul", "recipients", ...lines), tools);
}

async function refresh() {
  try {
    const { users } = await ask("/presence");
    const names = Object.keys(users);
    byId("online-count").textContent = String(names.length);
    byId("online").replaceChildren(...names.map((user) => onlineItem(user, users[user].list)));
  } catch (error) {
    complain(error);
  }
}

/** @param {string} user */
async function disconnect(user) {
  await ask(`/presence/${encodeURIComponent(user)}`, "DELETE").catch(complain);
  await refresh();
}

/** What a recorded event means for messages. @param {Flight} flight */
function sentence({ what, connection, offset, reason, lost }) {
  if (what === "connected") return `Connection ${connection} began after message ${offset}${lost ? "; it was told that history was lost" : ""}.`;
  return `Connection ${connection} ended (${reason}); it was sent everything up to message ${offset}.`;
}

/** @param {Log} log */
function summary({ kept, unread, oldest, newest }) {
  return kept === 0 ? "The feed holds nothing." : `The feed holds ${kept} messages, ${oldest} to ${newest}; ${unread} are unread.`;
}

/** @param {string} user */
async function show(user) {
  /** @type {HTMLInputElement} */ (byId("name")).value = user;
  try {
    const { online, log, events } = await ask(`/users/${encodeURIComponent(user)}`);
    const lines = events.map((/** @type {Flight} */ flight) => element("li", "", element("time", "", clock(flight.time)), " ", sentence(flight)));
    const title = element("h3", "", `${user} is ${online ? "connected" : "not connected"}`);
    byId("user").replaceChildren(title, element("p", "", summary(log)), element("ol", "sent", ...lines));
  } catch (error) {
    complain(error);
  }
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  show(/** @type {HTMLInputElement} */ (byId("name")).value.trim());
});

offerUsers(/** @type {HTMLInputElement} */ (byId("name")));
setInterval(() => document.hidden || refresh(), REFRESH_MS);
refresh();
