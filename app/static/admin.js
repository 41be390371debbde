// The admin page: one form, one `POST /publish`, and what became of each message below it.

import { element } from "./message.js";

const LABELS = { user: "User id", users: "User ids, separated by commas", topic: "Topic" };

const form = document.getElementById("publish");
const target = document.getElementById("target");
const send = document.getElementById("send");
const results = document.getElementById("results");

// The same id goes out again when the answer to a message was lost, so that a second click can't send it twice.
let id = newId();

function newId() {
  // Not crypto.randomUUID(), which plain http lacks.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function recipients(kind, text) {
  if (kind === "everyone") return { everyone: true };
  if (kind === "topic") return { topic: text.trim() };
  if (kind === "user") return { to: text.trim() };
  return { to: text.split(",").map((part) => part.trim()).filter((part) => part !== "") };
}

function messageOf(fields) {
  const message = { id, ...recipients(fields.get("kind"), fields.get("target") ?? "") };
  for (const name of ["title", "body", "level", "url"]) {
    if (fields.get(name)) message[name] = fields.get(name);
  }
  return message;
}

function outcome(delivery) {
  if (delivery.online === undefined) return "stored";
  return delivery.online ? "delivered" : "stored, offline";
}

function showResult(level, title, lines) {
  const made = element("li", "message", element("div", "head", element("h2", "", title)));
  made.append(...lines.map((line) => element("p", "body", line)));
  made.dataset.level = level;
  results.prepend(made);
}

function showDeliveries(title, answer) {
  const lines = answer.deliveries.map((delivery) => `${delivery.to}: ${outcome(delivery)}, number ${delivery.offset}`);
  showResult("success", `Sent: ${title || answer.id}`, lines);
}

async function publish(message) {
  const answer = await fetch("/publish", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(message),
  });
  const body = await answer.json();
  id = newId();
  if (answer.ok) showDeliveries(message.title, body);
  else showResult("error", body.title, [body.detail]);
}

function showKind() {
  const kind = new FormData(form).get("kind");
  document.getElementById("target-row").hidden = kind === "everyone";
  target.disabled = kind === "everyone";
  document.getElementById("target-label").textContent = LABELS[kind] ?? "";
}

form.addEventListener("input", () => {
  id = newId();
  showKind();
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  send.disabled = true;
  try {
    await publish(messageOf(new FormData(form)));
  } catch {
    showResult("error", "No answer from the server", ["Press Send again: the message can't be sent twice."]);
  }
  send.disabled = false;
});

showKind();
