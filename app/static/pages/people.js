// The page `/admin/people/`: who is connected, ending connections, and what happened to one user and one message.

import { agentName } from "./agents.js";
import { button, byId, clock, counted, element } from "./dom.js";
import { addressOf, here, isVisitor, traceOf } from "./ids.js";
import { offerUsers } from "./search.js";

/** @typedef {{id: string, since: string, address: string, agent: string, tabs: number | null, topics: string[]}} Connection */
/** @typedef {{time: string, what: string, connection: string, offset: number, reason?: string, lost?: boolean, ids?: string[], count?: number, all?: boolean, devices?: number}} Flight */
/** @typedef {{newest: number, oldest: number, kept: number, unread: number}} Log */
/** @typedef {{kept: boolean, read: boolean, archived: boolean, removed: boolean}} Marks */
/** @typedef {Marks & {id: string, time: string, title?: string, body?: string, log: string, offset: number}} Message */
/** @typedef {{time: string, what: string, connection?: string, until?: string, caught_up?: boolean, devices?: number}} Step */
/** @typedef {Marks & {log: string, offset: number | null, steps: Step[]}} Trace */

const REFRESH_MS = 5_000;
const CHAPTERS = 20; // shown at once
const LISTED = 1_000; // users that are told at most
const PLACES_MS = 1_500; // after a question, workers have told by then where the user's connections stand

const nameField = byId("name", HTMLInputElement);

/** @param {string} path @param {string} [method] @returns {Promise<any>} null where nothing is answered */
async function ask(path, method = "GET") {
  const answer = await fetch(path, { method });
  const told = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

/** Say in the card what went wrong there, or that nothing does any more. @param {"online" | "user"} card @param {unknown} [error] */
function complain(card, error) {
  const box = byId("problem");
  const place = byId(card);
  if (!error && box.nextElementSibling !== place) return; // what it says is about the other card
  place.before(box);
  box.textContent = !error ? "" : error instanceof TypeError ? "No answer from the server." : String(/** @type {Error} */ (error).message);
}

/** @param {string} user @param {Connection} connection */
function connectionItem(user, { id, since, address, agent, tabs }) {
  const shared = tabs === null ? "" : `${counted(tabs, "tab")}, `;
  const text = `${shared}since ${clock(since)} from ${address}, ${agentName(agent)}`;
  const end = button("Disconnect", () => disconnect(user, id), `Disconnect connection ${id} of ${user}`);
  const line = element("span", "", text);
  line.title = agent;
  return element("li", "live", line, end);
}

/** @param {string} user @param {Connection[]} connections */
function onlineItem(user, connections) {
  const tools = [button("What happened", () => show(user), `What happened to ${user}`)];
  if (connections.length > 1) tools.push(button("Disconnect all", () => disconnect(user), `Disconnect ${user} everywhere`));
  const count = counted(connections.length, "connection");
  const lines = connections.map((connection) => connectionItem(user, connection));
  return element("li", "", element("div", "line", element("h3", "", user), count), element("ul", "connections", ...lines), element("div", "buttons", ...tools));
}

let shownOnline = "?"; // nothing yet, not even that nobody is there
let shownUser = "";
let searches = 0;
let shownSearch = 0;

/** @param {string} user @param {boolean} online */
const heading = (user, online) => `${user} is ${online ? "connected" : "not connected"}`;

async function refresh() {
  try {
    const { users } = await ask(here("/presence"));
    complain("online");
    // Where the list is as it was, its buttons stay: whoever is about to press one does not lose it.
    const names = Object.keys(users);
    const title = byId("user").querySelector("h3");
    const listed = Object.hasOwn(users, shownUser); // `in` would find "constructor"
    // The list has a limit: a user who is missing in a full list may still be connected.
    if (title && (listed || names.length < LISTED)) title.textContent = heading(shownUser, listed);
    const now = JSON.stringify(names.map((user) => [user, users[user].list.map((/** @type {Connection} */ { id, tabs }) => [id, tabs])]));
    if (now === shownOnline) return;
    shownOnline = now;
    byId("online-count").textContent = String(names.length);
    byId("nobody").hidden = names.length > 0;
    byId("online").replaceChildren(...names.map((user) => onlineItem(user, users[user].list)));
  } catch (error) {
    complain("online", error);
  }
}

/** @param {string} user @param {string} [connection] without it, all */
async function disconnect(user, connection = "") {
  await ask(addressOf("/presence", user, "", { connection }), "DELETE").catch((error) => complain("online", error));
  await refresh();
}

/** @param {Flight} flight */
function whichMessages({ all, ids = [], count = ids.length }) {
  if (all) return "all messages";
  return count > ids.length ? `${count} messages, among them ${ids.join(", ")}` : `message ${ids.join(", ")}`;
}

/** What a recorded event means for messages. @param {Flight} flight */
function sentence(flight) {
  const { what, connection, offset, reason, lost } = flight;
  const loss = lost ? "; it was told that history was lost" : "";
  if (what === "connected") return `Connection ${connection} began after message ${offset}${loss}.`;
  if (what === "resumed") return `Connection ${connection} resumed; its client has everything up to message ${offset}${loss}.`;
  if (what === "reset") return `Connection ${connection} was told that history was lost, and goes on after message ${offset}.`;
  if (what === "closed") return `Connection ${connection} ended (${reason}); it was sent everything up to message ${offset}.`;
  if (what === "pushed") return `Pushed to ${counted(flight.devices ?? 0, "device")}: ${whichMessages(flight)}.`;
  return `${what[0]?.toUpperCase()}${what.slice(1)}: ${whichMessages(flight)}.`;
}

/** What a step means for the message that is asked about. @param {Step} step */
function stepSentence({ what, connection, until, caught_up, devices }) {
  if (what === "published") return "Published.";
  if (what === "sent" && caught_up) return `Sent to connection ${connection}, which came later and caught up.`;
  if (what === "sent") return `Sent to connection ${connection} as it was published; it had it by ${clock(until ?? "")} at the latest.`;
  if (what === "acknowledged") return `The client came back with a cursor after it (connection ${connection}): it has it.`;
  if (what === "began_after") return `Connection ${connection} began after it: its client finds it in the feed.`;
  if (what === "not_yet") return `Connection ${connection} is open, and was not sent it yet.`;
  if (what === "ended_before") return `Connection ${connection} ended before it was sent.`;
  if (what === "pushed") return `Pushed to ${counted(devices ?? 0, "device")}.`;
  if (what === "reset") return `Connection ${connection} was told that history was lost: its client fetches the feed again.`;
  return `${what[0]?.toUpperCase()}${what.slice(1)}.`;
}

/** @param {Marks} marks */
function state({ kept, read, archived, removed }) {
  if (!kept) return "not kept any more";
  return removed ? "removed by the user" : archived ? "archived" : read ? "read" : "unread";
}

/** @param {Log} log */
function summary({ kept, unread, oldest, newest }) {
  if (kept === 0) return "The feed holds nothing.";
  if (kept === 1) return `The feed holds 1 message, number ${newest}; it is ${unread ? "unread" : "not unread"}.`;
  return `The feed holds ${kept} messages, ${oldest} to ${newest}; ${unread} ${unread === 1 ? "is" : "are"} unread.`;
}

/** Whether this user was ever seen: an unknown one and one who is away look alike otherwise. @param {string} user */
async function seen(user) {
  const query = new URLSearchParams({ prefix: user, limit: "1" });
  const { users } = await ask(`${here("/users")}?${query}`);
  return isVisitor(users[0], user) ? `Last seen ${clock(users[0].seen)}. ` : "Nobody has seen this user: check the spelling. ";
}

/** Events that belong together: of each connection all, and changes of one kind that follow upon each other. The newest first. @param {Flight[]} events */
function chapters(events) {
  /** @type {Map<string, Flight[]>} */
  const found = new Map();
  let runs = 0;
  let before = "";
  for (const event of [...events].sort((a, b) => b.time.localeCompare(a.time))) {
    if (!event.connection && before !== event.what) runs++;
    before = event.what;
    const key = event.connection ? `connection ${event.connection}` : `change ${runs}`;
    found.set(key, [...(found.get(key) ?? []), event]);
  }
  return [...found.values()];
}

/** @param {Flight[]} events */
function chapterItem(events) {
  const [first, ...others] = events.map((event) => timed(event, sentence(event)));
  if (!first) return element("li", "");
  if (others.length) first.append(element("details", "", element("summary", "", counted(others.length, "earlier event")), element("ol", "", ...others)));
  return first;
}

/** What happened, a busy user's in few lines. @param {Flight[]} events */
function story(events) {
  const items = chapters(events).map(chapterItem);
  const rest = items.splice(CHAPTERS);
  const more = element("details", "", element("summary", "", `${rest.length} more`), element("ol", "sent", ...rest));
  return [element("ol", "sent", ...items), ...(rest.length ? [more] : [])];
}

/** @param {{time: string}} event @param {string} text */
const timed = (event, text) => element("li", "", element("time", "", clock(event.time)), " ", text);

/** @param {Trace} trace */
function verdict({ steps, read }) {
  const has = steps.find(({ what }) => what === "acknowledged" || what === "read");
  const sent = steps.find(({ what }) => what === "sent");
  const when = has ? `, by ${clock(has.time)} at the latest` : "";
  if (read) return `It arrived${when}: it was read.`;
  if (has) return `It arrived${when}.`;
  if (sent) return `It was sent: ${clock(sent.time)}.`;
  return "Nothing says that it arrived.";
}

/** @param {string} user @param {string} id */
async function trace(user, id) {
  const box = byId("trace");
  const path = traceOf(user, id);
  const tell = async () => {
    /** @type {Trace} */
    const told = await ask(path);
    const where = told.offset === null ? "" : `, stored as message ${told.offset} of ${told.log.replace(/^user:/, "")}`;
    box.replaceChildren(
      element("h3", "", `Did ${user} get ${id}?`),
      element("p", "", element("strong", "", verdict(told)), ` Now: ${state(told)}${where}.`),
      element("ol", "sent", ...told.steps.map((step) => timed(step, stepSentence(step)))),
    );
  };
  try {
    await tell();
    setTimeout(() => box.isConnected && tell().catch((error) => box.isConnected && complain("user", error)), PLACES_MS);
  } catch (error) {
    box.replaceChildren();
    if (box.isConnected) complain("user", error);
  }
}

/** @param {string} user @param {Message} message */
function messageItem(user, message) {
  const title = message.title ?? message.body ?? message.id;
  const line = element("div", "line", element("h4", "", title), element("time", "", clock(message.time)));
  const tag = element("span", "hint", `${message.log === "everyone" ? "to everyone, " : ""}${state(message)}`);
  return element("li", "", line, element("div", "buttons", tag, button("Did it arrive?", () => trace(user, message.id), `Did “${title}” arrive?`)));
}

/** @param {string} user @param {string} [message] the id of one to trace */
async function show(user, message = "") {
  nameField.value = user;
  const search = ++searches;
  try {
    const [{ online, log, messages, events }, known] = await Promise.all([ask(addressOf("/users", user)), seen(user)]);
    if (search < shownSearch) return; // a later answer came first
    shownSearch = search;
    complain("user");
    shownUser = user;
    const title = element("h3", "", heading(user, online));
    const box = element("div", "");
    box.id = "trace";
    const list = messages.length === 0 ? element("p", "blank", "None.") : element("ol", "sent", ...messages.map((/** @type {Message} */ each) => messageItem(user, each)));
    byId("user").replaceChildren(
      title, element("p", "", online ? "" : known, summary(log)), box,
      element("h3", "", "Latest messages"), list,
      element("h3", "", "Connections and changes"), ...story(events),
    );
    const query = new URLSearchParams({ user, ...(message && { message }) });
    history.replaceState(null, "", `?${query}`);
    if (message) await trace(user, message);
  } catch (error) {
    if (search < shownSearch) return;
    shownSearch = search;
    complain("user", error);
  }
}

byId("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = byId("message", HTMLInputElement).value.trim();
  show(nameField.value.trim(), asked);
});

offerUsers(nameField);
setInterval(() => document.hidden || refresh(), REFRESH_MS);
refresh();
setTimeout(refresh, PLACES_MS); // this page's own bell is listed by then
const given = new URLSearchParams(location.search);
const givenUser = given.get("user");
if (givenUser) show(givenUser, given.get("message") ?? "");
