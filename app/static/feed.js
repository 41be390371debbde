// The feed page: history from `GET /feed`, then live from the cursor that came with it, so nothing falls between the two.

import { Connection, backoff } from "./connection.js";
import { headline, messageElement } from "./message.js";

const PAGE_SIZE = 50;
const STATES = { connecting: "Connecting…", live: "Live", stopped: "Stopped: reload the page to go on" };

const list = document.getElementById("messages");
const more = document.getElementById("more");
const empty = document.getElementById("empty");
const state = document.getElementById("state");
const announcement = document.getElementById("announcement");

const shown = new Map(); // message id → element; what arrives twice is shown once
const byKey = new Map(); // key → message id; a later message with the same key takes the earlier one's place
let next = null;

const connection = new Connection({
  message: receive,
  reset: reload,
  state: showState,
  mayReturn: stillSignedIn,
});

function showState(name) {
  state.dataset.state = name;
  state.textContent = STATES[name];
}

/** Put `message` into the list by `place`, unless it is there. @returns whether it is new */
function show(message, place) {
  if (shown.has(message.id)) return false;
  if (message.event) connection.listen(message.event);
  const made = messageElement(message);
  shown.set(message.id, made);
  place(made);
  empty.hidden = true;
  return true;
}

function supersede(message) {
  if (message.key === undefined) return;
  const earlier = byKey.get(message.key);
  if (earlier !== undefined && earlier !== message.id) shown.get(earlier)?.remove();
  byKey.set(message.key, message.id);
}

function receive(message) {
  const isNew = show(message, (made) => list.prepend(made));
  if (!isNew) return;
  supersede(message);
  shown.get(message.id).classList.add("new");
  announcement.textContent = `New message: ${headline(message)}`;
}

function showHistory(page) {
  for (const message of page.messages) {
    const isNew = show(message, (made) => list.append(made));
    if (isNew && message.key !== undefined && !byKey.has(message.key)) byKey.set(message.key, message.id);
  }
  next = page.next;
  more.hidden = next === null;
  empty.hidden = list.childElementCount > 0;
}

/** One page of the feed, tried until it comes. A lost session reloads the page, which leads to the sign-in. */
async function fetchPage(before) {
  const query = new URLSearchParams({ limit: PAGE_SIZE, ...(before === null ? {} : { before }) });
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(`/feed?${query}`).catch(() => null);
    if (answer?.ok) return answer.json();
    if (answer?.status === 401) location.reload();
    await new Promise((resolve) => setTimeout(resolve, backoff(attempt)));
  }
}

async function stillSignedIn() {
  const answer = await fetch("/feed?limit=1").catch(() => null);
  if (answer?.status === 401) location.reload();
  return answer?.status !== 401 && answer?.status !== 403;
}

/** History was lost: what is shown may be incomplete. What arrives while the page loads is kept, and shown once. */
async function reload() {
  list.replaceChildren();
  shown.clear();
  byKey.clear();
  showHistory(await fetchPage(null));
}

async function start() {
  const page = await fetchPage(null);
  showHistory(page);
  connection.open(page.cursor);
}

more.addEventListener("click", async () => {
  more.disabled = true;
  showHistory(await fetchPage(next));
  more.disabled = false;
});
addEventListener("pagehide", () => connection.close()); // an open stream would keep the page out of the back/forward cache
addEventListener("pageshow", (event) => {
  if (event.persisted) connection.resume();
});

start();
