// The admin page: one form, a preview of what it makes, one `POST /publish`, and what became of each message.

import { showAudit } from "./audit.js";
import { button, byId, clock, counted, element } from "./dom.js";
import { addressOf, here, isVisitor } from "./ids.js";
import { showRecent } from "./recent.js";
import { offerUsers } from "./search.js";

/** @typedef {{to: string, offset: number | null, duplicate: boolean, online: boolean}} Delivery */
/** @typedef {Record<string, unknown> & {id: string}} Draft what goes out */

const LABELS = { user: "User id", users: "User ids, separated by commas", topic: "Topic" };
const RECORDED_MS = 1_500; // a message is among the recent ones by then
const SHOWN = 20; // recipients one by one
const CHECKED_MOST = 20; // users of a list that are looked up
const CONFIRM_FROM = 10; // recipients of a list; fewer are seen at a glance

const form = byId("publish", HTMLFormElement);
const target = byId("target", HTMLInputElement);
const send = byId("send", HTMLButtonElement);
const results = byId("results", HTMLOListElement);
const outcome = byId("outcome", HTMLElement);
const remark = byId("target-remark", HTMLElement);
const preview = /** @type {HTMLElement & {message: object}} */ (byId("preview", HTMLElement));

// The same id goes out again when the answer to a message was lost, so that a second click can't send it twice.
let id = newId();
/** @type {Set<string>} */
const unanswered = new Set(); // ids of messages that may have been sent

function newId() {
  // Not crypto.randomUUID(), which plain http lacks.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {string} text */
const parts = (text) => text.split(",").map((part) => part.trim()).filter((part) => part !== "");

/** @param {string} kind @param {string} text */
function recipients(kind, text) {
  if (kind === "everyone") return { everyone: true };
  if (kind === "topic") return { topic: text.trim() };
  return { to: kind === "user" ? text.trim() : parts(text) };
}

/** What a reader will see of the message. @param {Record<string, string>} fields */
function content(fields) {
  /** @type {Record<string, unknown>} */
  const made = {};
  for (const name of ["title", "body", "level", "url", "key"]) {
    if (fields[name]) made[name] = fields[name];
  }
  if (fields.tags) made.tags = parts(fields.tags);
  if (fields["action-label"]) made.actions = [{ label: fields["action-label"], ...(fields["action-url"] && { url: fields["action-url"] }) }];
  return made;
}

/** @returns {Record<string, string>} */
const fieldsOf = () => Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));

/** @returns {Draft} */
function draft() {
  const fields = fieldsOf();
  return {
    id,
    ...recipients(fields.kind, fields.target ?? ""),
    ...content(fields),
    ...(fields.ttl && { ttl: Number(fields.ttl) }),
    ...(fields.transient && { transient: true }),
    ...(fields["deliver-at"] && { deliver_at: new Date(fields["deliver-at"]).toISOString() }),
  };
}

/** @param {string} path @param {string} method @param {unknown} [body] @returns {Promise<any>} throws what went wrong, as a text */
async function ask(path, method, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) }).catch(() => {
    throw new Error("No answer from the server. Press Send again: the message can't be sent twice.");
  });
  const told = answer.status === 204 ? {} : await answer.json();
  // After a server error the change may still have happened: on one node only, or too late for an answer.
  if (!answer.ok) throw Object.assign(new Error(`${told.title}. ${told.detail}`), { refused: answer.status < 500 });
  return told;
}

/** What became of a message to readers whom nobody can list. @param {number | null} offset */
const openly = (offset) => (offset === null ? "sent to those who are connected, not kept" : "sent to those who are connected, kept for the others");

/** @param {Delivery} delivery */
function deliveryItem({ to, duplicate, online, offset }) {
  if (duplicate) return element("li", "duplicate", `${to}: had it already`);
  const [, topic] = /^topic:(.*)$/s.exec(to) ?? [];
  if (topic !== undefined || to === "everyone") return element("li", "live", `${topic === undefined ? "everyone" : `topic ${topic}`}: ${openly(offset)}`);
  if (online) return element("li", "live", `${to}: online now`);
  return element("li", "", offset === null ? `${to}: offline, not kept` : `${to}: offline, finds it later`);
}

/** How a long list came off. @param {Delivery[]} deliveries */
function tally(deliveries) {
  if (deliveries.length <= SHOWN) return "";
  const had = deliveries.filter(({ duplicate }) => duplicate).length;
  const live = deliveries.filter(({ online, duplicate }) => online && !duplicate).length;
  return `${deliveries.length} recipients: ${live} online now, ${deliveries.length - live - had} offline, ${had} had it already. The first ${SHOWN}:`;
}

/** @param {Draft} message */
const headline = (message) => String(message.title ?? message.body ?? message.id);

/** @param {...Node} children */
function showResult(...children) {
  byId("none-sent", HTMLElement).hidden = true;
  results.prepend(element("li", "", ...children));
}

/** Say beside the button how it went. @param {string} text @param {boolean} isProblem */
function say(text, isProblem) {
  outcome.className = isProblem ? "problem" : "hint";
  outcome.textContent = text;
  outcome.scrollIntoView({ block: "nearest" }); // on a phone it may stand below the edge of the window
}

/** In one sentence. @param {Delivery[]} deliveries */
function sentTo(deliveries) {
  const [only] = deliveries;
  if (deliveries.length === 1 && only) return `Sent. ${deliveryItem(only).textContent}.`;
  return `Sent to ${counted(deliveries.length, "recipient")}, ${deliveries.filter(({ online }) => online).length} of them online now.`;
}

/** @param {Draft} message @param {Delivery[]} deliveries @param {string} [due] when it is delivered, if it is scheduled */
function showSent(message, deliveries, due) {
  const time = element("time", "", clock(Date.now()));
  const said = element("p", "problem", "");
  const retract = button("Retract", async () => {
    try {
      await ask(addressOf("/messages", message.id), "DELETE");
      retract.replaceWith("Retracted");
      showAudit();
    } catch (error) {
      said.textContent = /** @type {Error} */ (error).message;
    }
  });
  let copy = { ...message, id: newId() };
  const again = button("Send again", async () => {
    if (await sendAgain(copy)) copy = { ...copy, id: newId() };
  });
  showResult(
    element("div", "line", element("h3", "", headline(message)), time),
    element("p", "hint", due ? `Scheduled for ${new Date(due).toLocaleString()}` : tally(deliveries)),
    element("ul", "recipients", ...deliveries.slice(0, SHOWN).map(deliveryItem)),
    said,
    element("div", "buttons", ...(message.transient ? [] : [retract]), again),
  );
}

/**
 * @param {Draft} message
 * @returns {Promise<{isOver: boolean, isSent: boolean}>} `isOver`: it is known what became of it; otherwise the same id has to go out again
 */
async function publish(message) {
  unanswered.add(message.id);
  let isSent = false;
  try {
    const { deliveries, deliver_at } = await ask(here("/publish"), "POST", message);
    unanswered.delete(message.id);
    isSent = true;
    showSent(message, deliveries, deliver_at);
    say(deliver_at ? "Scheduled." : sentTo(deliveries), false);
    showAudit();
    setTimeout(recent.refresh, RECORDED_MS);
  } catch (error) {
    const { message: text, refused } = /** @type {Error & {refused?: boolean}} */ (error);
    showResult(element("p", "problem", text));
    say(text, true);
    if (refused) unanswered.delete(message.id);
  }
  return { isOver: !unanswered.has(message.id), isSent };
}

/** Send what the form holds. @param {Draft} message */
async function submit(message) {
  const isUnchanged = () => id === message.id;
  const { isOver, isSent } = await publish(message);
  if (isSent && isUnchanged()) clear();
  if (isOver && isUnchanged()) id = newId();
}

/** @param {Draft} copy @returns {Promise<boolean>} whether that is over: it was sent, refused, or never meant */
async function sendAgain(copy) {
  return (await confirmed(copy)) ? (await publish(copy)).isOver : !unanswered.has(copy.id);
}

/** Everyone has no number: users are whoever brings a token. How many were seen, and are connected, is known. */
async function everyUser() {
  const { known } = await ask(here("/users?limit=1"), "GET").catch(() => ({ known: "an unknown number" }));
  const users = await ask(here("/presence"), "GET").then((told) => Object.keys(told.users), () => []);
  return `every user (${known} known, ${users.length} connected now)`;
}

/** @param {Draft} message @returns {Promise<boolean>} whether it shall go out */
async function confirmed(message) {
  const count = Array.isArray(message.to) ? message.to.length : 1;
  if (!message.everyone && count < CONFIRM_FROM) return true;
  const dialog = byId("confirm", HTMLDialogElement);
  byId("confirm-count", HTMLElement).textContent = message.everyone ? await everyUser() : `${count} users`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

function show() {
  const fields = fieldsOf();
  byId("target-row", HTMLElement).hidden = fields.kind === "everyone";
  target.disabled = fields.kind === "everyone";
  byId("target-label", HTMLElement).textContent = LABELS[/** @type {keyof LABELS} */ (fields.kind)] ?? "";
  const shown = content(fields);
  preview.message = { id, time: new Date().toISOString(), ...shown, title: shown.title ?? (shown.body ? undefined : "Your message") };
}

/** Empty the form after its message was sent. The kind of target stays, for the next one. */
function clear() {
  const { kind } = fieldsOf();
  form.reset();
  for (const field of form.querySelectorAll("input")) if (field.name === "kind") field.checked = field.value === kind;
  remark.textContent = "";
  show();
}

/** Whether a reader would see nothing of it. @param {Draft} message */
const isEmpty = ({ title, body, url, actions }) => ![title, body].some((text) => String(text ?? "").trim()) && !url && !actions;

/** Remark upon users whom nobody has seen: the id may be mistyped. */
async function checkTarget() {
  const { kind, target: typed = "" } = fieldsOf();
  const users = kind === "user" ? [typed.trim()].filter(Boolean) : kind === "users" ? parts(typed) : [];
  const found = await Promise.all(users.slice(0, CHECKED_MOST).map(isKnown));
  if (fieldsOf().target !== typed) return; // it was changed meanwhile
  const unknown = users.filter((_, at) => found[at] === false);
  remark.textContent = unknown.length ? `Nobody has seen ${unknown.join(", ")} yet. Check the spelling: a message is kept for whoever comes by this id.` : "";
}

/** @param {string} user @returns {Promise<boolean | null>} null: it could not be found out */
async function isKnown(user) {
  const query = new URLSearchParams({ prefix: user, limit: "1" });
  const told = await ask(`${here("/users")}?${query}`, "GET").catch(() => null);
  return told && isVisitor(told.users[0], user);
}

form.addEventListener("input", () => {
  id = newId();
  outcome.textContent = "";
  show();
});
target.addEventListener("change", checkTarget);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (send.disabled) return;
  const message = draft();
  if (isEmpty(message)) return say("A message needs a title or a text.", true);
  send.disabled = true;
  if (await confirmed(message)) await submit(message);
  send.disabled = false;
});
send.disabled = false; // until here a press would load the page anew and lose the message

offerUsers(target, () => ({ user: false, users: true })[fieldsOf().kind ?? ""] ?? null);
const recent = showRecent({ ask, newId, sendAgain, changed: showAudit });
await customElements.whenDefined("belfry-message");
show();
