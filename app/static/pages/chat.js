// The page `/chat`, and `/chat/<conversation>`: asks a model, shows each answer as it comes, and lists conversations.
//
// The server keeps conversations, so every device shows the same. `/chat/<run>` shows one answer that is in none.

/** @import { Content, Conversation, Listed, Turn } from "./conversations.js" */

import { BelfryRun, Refusal } from "../belfry.js";
import { load, localize } from "./chat_texts.js";
import { AnswerView, imagesOf, question, scrollToEnd, textOf } from "./chat_turns.js";
import * as conversations from "./conversations.js";
import { button, byId, clock, element } from "./dom.js";
import { addressOf, here, pagePath } from "./ids.js";
import { Images } from "./images.js";

const LISTED = 1_000;
const MODEL_KEY = "belfry-model";
const NEWS = "belfry.conversation";
const NEWS_PAUSE_MS = 300; // several changes together cost one look

const turns = byId("turns");
const form = byId("ask", HTMLFormElement);
const prompt = byId("prompt", HTMLTextAreaElement);
const model = byId("model", HTMLInputElement);
const send = byId("send", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const notice = byId("notice");
const editing = byId("editing");
const head = byId("head");

let isEarly = false; // a question was sent before it is known what it follows, or in which language the page speaks
/** @param {SubmitEvent} event */
function keep(event) {
  event.preventDefault();
  isEarly = true;
}
form.addEventListener("submit", keep);

const { lang, dir, texts } = await load(navigator.languages?.[0] ?? navigator.language);
Object.assign(/** @type {HTMLElement} */ (document.querySelector("main")), { lang, dir });
localize(document, texts);

/** @type {Partial<Record<import("../belfry.js").State, string>>} */
const NOTICES = { waiting: texts.waiting, polling: texts.polling, stopped: texts.paused, denied: texts.signedOut };

/** The conversation in sight: what the server keeps of it, and the run that answers now. */
class Shown {
  id = "";
  revision = 0;
  title = "";
  /** @type {Turn[]} */ turns = [];
  /** @type {BelfryRun | null} */ #run = null;
  #lone = ""; // an answer that is in no conversation
  #asking = ""; // the question on its way: its answer may be ready before the server's word about it

  /** Show all of it. @param {Conversation} known */
  show({ id, title, revision, turns: all }) {
    const isSame = id === this.id && revision === this.revision; // then a running answer is followed already
    Object.assign(this, { id, revision });
    showHead(title);
    if (isSame) return;
    this.turns = all;
    endEditing();
    this.#follow(null);
    turns.replaceChildren(...all.flatMap((turn, at) => this.#views(turn, at)));
    this.#answerLast();
    scrollToEnd();
  }

  /** Show an answer that somebody asked for elsewhere. @param {BelfryRun} run @param {string} asked */
  showAlone(run, asked) {
    this.#lone = run.id;
    turns.replaceChildren(...(asked ? [question(asked, texts, null)] : []));
    this.#follow(run, null);
  }

  /** Ask something, in the place of the turn at `place` and of all that follow it. @param {Content} content @param {number} [place] */
  async ask(content, place = this.turns.length) {
    const id = (this.#asking = newId());
    const asked = { id, model: model.value, content };
    const before = this.turns[place - 1]?.id ?? null;
    const taken = await (this.id ? conversations.ask(this.id, { ...asked, after: before, revision: this.revision }) : conversations.begin(asked));
    if (!this.id) history.pushState(null, "", addressOf("/chat", taken.id));
    if (this.#lone || turns.querySelector(".blank")) turns.replaceChildren();
    this.#lone = "";
    [this.id, this.revision] = [taken.id, taken.revision];
    this.turns = this.turns.slice(0, place);
    cutFrom(place);
    this.turns.push({ ...asked, id: taken.turn, status: "running" });
    turns.append(this.#question(content, place));
    this.#answerLast();
    scrollToEnd();
    list();
  }

  stop() {
    this.#run?.stop().catch(complain);
  }

  /** Whether this run, or this conversation, is in sight. @param {string} id */
  shows(id) {
    return id !== "" && [this.id, this.#lone, this.#asking, ...this.turns.map((turn) => turn.id)].includes(id);
  }

  /** @param {Turn} turn @param {number} at */
  #views(turn, at) {
    const asked = this.#question(turn.content, at);
    return turn.status === "running" ? [asked] : [asked, new AnswerView(texts, () => this.#again(at)).show(turn).root];
  }

  /** @param {Content} content @param {number} at */
  #question(content, at) {
    return question(content, texts, () => edit(content, at));
  }

  #again(/** @type {number} */ at) {
    const turn = this.turns[at];
    if (turn) attempt(() => this.ask(turn.content, at));
  }

  /** Follow the last answer, if it is under way. */
  #answerLast() {
    const at = this.turns.length - 1;
    const last = this.turns[at];
    if (last?.status === "running") this.#follow(new BelfryRun(last.id), () => this.#again(at));
  }

  /** @param {BelfryRun | null} run @param {(() => void) | null} [again] */
  #follow(run, again = null) {
    this.#run?.close();
    this.#run = run;
    setBusy(run !== null);
    if (!run) return;
    turns.append(new AnswerView(texts, again).follow(run).root);
    run.on("state", () => notify(run));
    run.on("end", () => this.#onEnd(run));
    run.open();
  }

  /** @param {BelfryRun} run */
  #onEnd(run) {
    if (run !== this.#run) return;
    const turn = this.turns.at(-1);
    const { text, reasoning, refusal, status } = run;
    if (turn?.id === run.id && status !== "gone") Object.assign(turn, { text, reasoning, refusal, status });
    setBusy(false);
    byId("said").textContent = run.status === "done" ? texts.complete : texts.ended;
    list();
  }
}

/** Take the question at this place and all that follows it out of sight. @param {number} place */
function cutFrom(place) {
  const first = turns.querySelectorAll(".question")[place];
  while (first && turns.lastElementChild !== first) turns.lastElementChild?.remove();
  first?.remove();
}

const shown = new Shown();

// The question

const images = new Images(byId("images", HTMLUListElement), texts, () => (prompt.required = images.urls.length === 0));
/** The place of the question that is edited. @type {number | undefined} */
let edited;

/** @param {Content} content @param {number} at */
function edit(content, at) {
  edited = at;
  editing.hidden = false;
  prompt.setAttribute("aria-describedby", editing.id);
  prompt.value = textOf(content);
  images.urls = imagesOf(content);
  prompt.focus();
}

function endEditing() {
  edited = undefined;
  editing.hidden = true;
  prompt.removeAttribute("aria-describedby");
}

/** @returns {Content} */
function composed() {
  if (images.urls.length === 0) return prompt.value;
  const text = prompt.value.trim() ? [{ type: "text", text: prompt.value }] : [];
  return [...text, ...images.urls.map((url) => ({ type: "image_url", image_url: { url } }))];
}

/** As unique as one run's must be. */
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {SubmitEvent} event */
function submit(event) {
  event.preventDefault();
  localStorage.setItem(MODEL_KEY, model.value);
  attempt(async () => {
    await shown.ask(composed(), edited);
    prompt.value = "";
    images.urls = [];
    endEditing();
  });
}

prompt.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && edited !== undefined) cancelEditing();
  const isSent = event.key === "Enter" && !event.shiftKey && !event.isComposing && matchMedia("(pointer: fine)").matches;
  if (!isSent) return;
  event.preventDefault();
  if (!send.hidden) form.requestSubmit();
});

function cancelEditing() {
  endEditing();
  prompt.value = "";
  images.urls = [];
  prompt.focus();
}

byId("cancel").addEventListener("click", cancelEditing);
stop.addEventListener("click", () => shown.stop());

/** @param {Iterable<File>} files */
const attach = (files) => images.add([...files].filter(({ type }) => type.startsWith("image/"))).catch(complain);

const file = byId("file", HTMLInputElement);
byId("attach").addEventListener("click", () => file.click());
file.addEventListener("change", async () => {
  await images.add(file.files ?? []).catch(complain);
  file.value = "";
});
prompt.addEventListener("paste", ({ clipboardData }) => attach(clipboardData?.files ?? []));
form.addEventListener("dragover", (event) => event.preventDefault());
form.addEventListener("drop", (event) => {
  event.preventDefault();
  attach(event.dataTransfer?.files ?? []);
});

/** Ask one question at a time. @param {() => Promise<void>} ask */
async function attempt(ask) {
  if (form.ariaBusy === "true" || !stop.hidden) return;
  form.ariaBusy = "true";
  notice.textContent = "";
  await ask().catch(complain);
  form.ariaBusy = "false";
}

/** Whether an answer is being made. @param {boolean} isBusy */
function setBusy(isBusy) {
  const [wanted, other] = isBusy ? [stop, send] : [send, stop];
  const hadFocus = document.activeElement === other;
  turns.classList.toggle("busy", isBusy);
  wanted.hidden = false;
  other.hidden = true;
  if (hadFocus) wanted.focus();
  if (isBusy) byId("said").textContent = texts.running;
}

// What is wrong

/** How the connection is, where that needs words, and what can be done about it. @param {BelfryRun} run */
function notify(run) {
  const said = NOTICES[run.state];
  notice.replaceChildren(...(said ? [said, " ", ...remedies(run)] : []));
}

/** @param {BelfryRun} run @returns {Node[]} */
function remedies(run) {
  if (run.state === "denied") return [signIn()];
  if (run.state === "waiting") return [button(texts.retry, () => run.resume())];
  if (run.state === "stopped") return [button(texts.resume, () => run.resume())];
  return [];
}

function signIn() {
  const link = element("a", "", texts.signIn);
  link.href = `${here("/login")}?next=${encodeURIComponent(location.pathname + location.search)}`;
  return link;
}

/** Something that the user wanted did not happen. @param {unknown} error */
function complain(error) {
  if (error instanceof Refusal && error.code === "conversation_changed") {
    notice.textContent = texts.changedElsewhere;
    reload();
    return;
  }
  const isTold = error instanceof Refusal || (error instanceof Error && error.name === "Error");
  const denied = error instanceof Refusal && error.status === 401;
  notice.replaceChildren(isTold ? error.message : texts.noServer, ...(denied ? [" ", signIn()] : []));
}

// The list, and what is done to a conversation

/** The id that the page's address names, "" where it names none. */
const named = () => new URLSearchParams(location.search).get("id") ?? decodeURIComponent(pagePath().split("/")[2] ?? "");

/** @param {Listed} listed */
function item({ id, title, used, running }) {
  const link = element("a", running ? "running" : "", element("span", "title", title || "…"), element("span", "hint", clock(used)));
  link.href = addressOf("/chat", id);
  if (id === shown.id) link.ariaCurrent = "page";
  return element("li", "", link);
}

async function list() {
  const found = await conversations.list(LISTED).catch(() => null);
  if (!found) return; // what is listed stays
  byId("none-earlier").hidden = found.length > 0;
  byId("runs").replaceChildren(...found.map(item));
  const current = found.find(({ id }) => id === shown.id);
  if (current) showHead(current.title);
}

/** @param {string} title */
function showHead(title) {
  shown.title = title;
  head.hidden = !shown.id;
  byId("conversation-title").textContent = title;
}

/** Ask the user; false where that was cancelled. @param {HTMLDialogElement} dialog */
async function confirmed(dialog) {
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "yes";
}

for (const each of document.querySelectorAll("[data-close]")) each.addEventListener("click", () => each.closest("dialog")?.close("no"));

byId("rename").addEventListener("click", async () => {
  const title = byId("new-title", HTMLInputElement);
  title.value = shown.title;
  if (!(await confirmed(byId("renaming", HTMLDialogElement)))) return;
  await conversations.rename(shown.id, title.value).then(list, complain);
});

byId("delete").addEventListener("click", async () => {
  if (!(await confirmed(byId("deleting", HTMLDialogElement)))) return;
  await conversations.remove(shown.id).then(leave, complain);
});

const leave = () => location.assign(here("/chat"));

// What happens elsewhere

/** Show the conversation as the server has it now. */
async function reload() {
  if (!shown.id) return;
  try {
    shown.show(await conversations.show(shown.id));
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) notice.textContent = texts.removedElsewhere;
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let looking;

function lookSoon() {
  clearTimeout(looking);
  looking = setTimeout(() => Promise.all([list(), reload()]), NEWS_PAUSE_MS);
}

const feed = /** @type {import("../belfry.js").BelfryFeed | null} */ (document.querySelector("belfry-feed"));
feed?.client?.on(NEWS, ({ conversation, removed }) => {
  if (removed && conversation === shown.id && !document.querySelector("dialog[open]")) notice.textContent = texts.removedElsewhere;
  lookSoon();
});
addEventListener("visibilitychange", () => !document.hidden && lookSoon()); // a change while it slept was not heard
addEventListener("pageshow", (event) => event.persisted && lookSoon());

/** That an answer is ready needs no telling where it is in sight. */
addEventListener("belfry-message", (event) => {
  const { target, detail } = /** @type {CustomEvent<{message: import("../belfry.js").Message & {data?: {run?: string}}}>} */ (event);
  if (document.hidden || !shown.shows(detail.message.data?.run ?? "")) return;
  event.preventDefault();
  /** @type {import("../belfry.js").BelfryFeed} */ (target).client?.markRead([detail.message.id]).catch(() => {}); // it stays unread
});

/** The models that there are, to choose from; any other name may be typed. */
async function offerModels() {
  const answer = await fetch(here("/v1/models"));
  if (!answer.ok) return;
  /** @type {string[]} */
  const names = (await answer.json()).data.map((/** @type {{id: string}} */ { id }) => id);
  byId("models").replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.length && model.value === model.defaultValue && !names.includes(model.value)) model.value = names[0];
}

/** Show what the address names, if it names something. */
async function open() {
  const id = named();
  if (!id) return;
  try {
    shown.show(await conversations.show(id));
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) await openRun(id);
    else complain(error);
  }
}

/** @param {string} id of a run, in a conversation or in none */
async function openRun(id) {
  const run = new BelfryRun(id);
  const known = await run.load().catch(() => null); // why there is nothing to show, the run itself finds out
  const { conversation = "" } = /** @type {{conversation?: string}} */ (known ?? {});
  if (!conversation) return shown.showAlone(run, known?.title ?? "");
  history.replaceState(null, "", addressOf("/chat", conversation));
  await open();
}

addEventListener("popstate", () => location.reload()); // back, or forward, to another conversation
if (model.value === model.defaultValue) model.value = localStorage.getItem(MODEL_KEY) ?? model.value; // a name that was typed meanwhile stays
byId("earlier", HTMLDetailsElement).open = matchMedia("(min-width: 56rem)").matches;
offerModels().catch(() => {}); // without it, a name is typed
await open();
form.removeEventListener("submit", keep);
form.addEventListener("submit", submit);
if (isEarly) form.requestSubmit();
await list();
