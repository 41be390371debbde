// The page `/chat`, and `/chat/<run>`: asks a model, shows the answer as it comes, and lists earlier ones.
//
// The server keeps answers, not conversations: what was said before goes up with each question, and lies in the entry of
// the browser's history, which survives a reload. Another device knows the beginning of the question, and the answer.

import { BelfryRun, Refusal } from "../belfry.js";
import { button, byId, clock, element } from "./dom.js";
import { addressOf, here, pagePath } from "./ids.js";
import { MarkdownView } from "./markdown.js";

/** @typedef {{role: "user" | "assistant", content: string}} Message */

const LISTED = 30;
const NEAR_END_PX = 80; // who reads further up is left there
const MODEL_KEY = "belfry-model";
/** @type {Record<string, string>} */
const REMARKS = {
  length: "The answer reached its limit and is cut off.",
  content_filter: "A content filter ended the answer.",
};
/** @type {Partial<Record<import("../belfry.js").State, string>>} */
const NOTICES = {
  waiting: "No connection. Trying again…",
  polling: "A proxy holds the answer back; it comes in larger pieces.",
  stopped: "Open in too many places. This one is paused.",
  denied: "You are signed out.",
};

const turns = byId("turns");
const form = byId("ask", HTMLFormElement);
const prompt = byId("prompt", HTMLTextAreaElement);
const model = byId("model", HTMLInputElement);
const send = byId("send", HTMLButtonElement);
const stop = byId("stop", HTMLButtonElement);
const earlier = byId("earlier", HTMLDetailsElement);

/** What a person said. @param {string} text */
const question = (text) => element("article", "question", element("h2", "unseen", "You"), element("p", "", text));

/** What a model said, or is saying. */
class AnswerView {
  #thoughts = /** @type {HTMLDetailsElement} */ (element("details", "thoughts", element("summary", "", "Reasoning"), element("p", "")));
  #body = element("div", "markdown");
  #markdown = new MarkdownView(this.#body);
  #outcome = element("p", "outcome");
  #frame = 0;

  /** @param {string} [text] */
  constructor(text = "") {
    this.root = element("article", "answer", element("h2", "unseen", "Answer"), this.#thoughts, this.#body, this.#outcome);
    this.#thoughts.hidden = true;
    this.#markdown.render(text, true);
  }

  /**
   * Show a run from its beginning, whenever it grows; `again` asks the same once more, where all of it is known.
   * @param {BelfryRun} run @param {(() => void) | null} again
   */
  follow(run, again) {
    this.root.ariaBusy = "true";
    run.on("text", () => (this.#frame ||= requestAnimationFrame(() => this.#render(run.text))));
    run.on("chunk", () => this.#think(run.reasoning));
    run.on("end", () => this.#end(run, again));
  }

  /** @param {string} text @param {boolean} [isWhole] */
  #render(text, isWhole) {
    this.#frame = 0;
    const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_END_PX;
    this.#markdown.render(text, isWhole);
    if (isAtEnd) scrollToEnd();
  }

  /** @param {string} reasoning */
  #think(reasoning) {
    this.#thoughts.hidden = !reasoning;
    if (reasoning) /** @type {HTMLElement} */ (this.#thoughts.lastElementChild).textContent = reasoning;
  }

  /** @param {BelfryRun} run @param {(() => void) | null} again */
  #end(run, again) {
    const { text, status, error } = run;
    cancelAnimationFrame(this.#frame);
    this.root.ariaBusy = "false";
    this.#think(run.reasoning);
    if (status !== "done") {
      this.#outcome.classList.toggle("problem", status !== "stopped");
      this.#outcome.append(error?.detail ?? "Stopped.", ...(again ? [button("Ask again", again)] : []));
    } else {
      this.#outcome.append(remark(run));
    }
    this.#render(text, true);
  }
}

/** What a reader must know of an answer that came to its end. @param {BelfryRun} run */
function remark({ refusal, finishReason, tools }) {
  const calls = tools.length > 0 ? `The model wants to call ${tools.join(", ")}.` : "";
  return [refusal, REMARKS[finishReason] ?? "", calls].filter(Boolean).join(" ");
}

/** The conversation that is shown: what its last run was asked, and that run. */
class Conversation {
  /** @type {Message[]} */ #asked = [];
  /** @type {BelfryRun | null} */ #run = null;

  /** Ask something more. @param {string} content */
  async say(content) {
    const answer = this.#run?.text;
    await this.#ask([...this.#asked, ...(answer ? [message("assistant", answer)] : []), message("user", content)]);
  }

  /** Show an answer from its beginning. @param {BelfryRun} run @param {Message[]} asked */
  show(run, asked) {
    this.#run?.close();
    this.#run = run;
    this.#asked = asked;
    const answer = new AnswerView();
    turns.replaceChildren(...asked.map(({ role, content }) => (role === "user" ? question(content) : new AnswerView(content).root)), answer.root);
    answer.follow(run, history.state?.asked ? () => attempt(() => this.#ask(asked)) : null);
    run.on("state", () => notify(run));
    run.on("end", () => this.#onEnd(run));
    setBusy(true);
    scrollToEnd();
  }

  stop() {
    this.#run?.stop().catch(complain);
  }

  /** Whether this run is the one in sight. @param {string} id */
  shows(id) {
    return id === this.#run?.id;
  }

  /** @param {Message[]} messages */
  async #ask(messages) {
    const run = await BelfryRun.start({ model: model.value, messages });
    history.pushState({ asked: messages }, "", addressOf("/chat", run.id));
    this.show(run, messages);
    run.open();
    list();
  }

  /** @param {BelfryRun} run */
  #onEnd(run) {
    if (run !== this.#run) return;
    setBusy(false);
    byId("said").textContent = run.status === "done" ? "The answer is complete." : "The answer has ended.";
    list();
  }
}

/** @param {Message["role"]} role @param {string} content @returns {Message} */
const message = (role, content) => ({ role, content });

const scrollToEnd = () => scrollTo(0, document.documentElement.scrollHeight);

/** Whether an answer is being made. @param {boolean} isBusy */
function setBusy(isBusy) {
  const [wanted, other] = isBusy ? [stop, send] : [send, stop];
  const hadFocus = document.activeElement === other;
  wanted.hidden = false;
  other.hidden = true;
  if (hadFocus) wanted.focus();
  if (isBusy) byId("said").textContent = "An answer is being made.";
}

/** Ask one question at a time. @param {() => Promise<void>} ask */
async function attempt(ask) {
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  byId("notice").textContent = "";
  await ask().catch(complain);
  form.ariaBusy = "false";
}

/** How the connection is, where that needs words, and what can be done about it. @param {BelfryRun} run */
function notify(run) {
  const said = NOTICES[run.state];
  byId("notice").replaceChildren(...(said ? [said, " ", ...remedies(run)] : []));
}

/** @param {BelfryRun} run @returns {Node[]} */
function remedies(run) {
  if (run.state === "denied") return [signIn()];
  if (run.state === "waiting") return [button("Try again", () => run.resume())];
  if (run.state === "stopped") return [button("Continue here", () => run.resume())];
  return [];
}

function signIn() {
  const link = element("a", "", "Sign in");
  link.href = `${here("/login")}?next=${encodeURIComponent(location.pathname + location.search)}`;
  return link;
}

/** Something that the user wanted did not happen. @param {unknown} error */
function complain(error) {
  const denied = error instanceof Refusal && error.status === 401;
  byId("notice").replaceChildren(error instanceof Refusal ? error.message : "No answer from the server. Try again.", ...(denied ? [" ", signIn()] : []));
}

/** The id of the run that the page's address names, "" where it names none. */
function namedRun() {
  return new URLSearchParams(location.search).get("id") ?? decodeURIComponent(pagePath().split("/")[2] ?? "");
}

/** @param {import("../belfry.js").RunAnswer} run */
function item({ id, title, status, started }) {
  const link = element("a", status, element("span", "title", title || "(no text)"));
  link.href = addressOf("/chat", id);
  if (id === namedRun()) link.ariaCurrent = "page";
  const time = clock(started);
  link.append(element("span", "hint", status === "done" ? time : `${time} · ${status}`));
  return element("li", "", link);
}

async function list() {
  const runs = await BelfryRun.list(LISTED).catch(() => null);
  if (!runs) return; // what is listed stays
  byId("none-earlier").hidden = runs.length > 0;
  byId("runs").replaceChildren(...runs.map(item));
}

/** What is known elsewhere of what a run was asked. @param {BelfryRun} run */
async function beginning(run) {
  const known = await run.load().catch(() => null); // why there is nothing to show, `open` finds out
  return known ? [message("user", known.title)] : [];
}

const conversation = new Conversation();

/** Show the run that the address names, if it names one. */
async function open() {
  const id = namedRun();
  if (!id) return;
  const run = new BelfryRun(id);
  conversation.show(run, history.state?.asked ?? (await beginning(run)));
  run.open();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  localStorage.setItem(MODEL_KEY, model.value);
  attempt(async () => {
    await conversation.say(prompt.value);
    prompt.value = "";
  });
});

prompt.addEventListener("keydown", (event) => {
  const isSent = event.key === "Enter" && !event.shiftKey && !event.isComposing && matchMedia("(pointer: fine)").matches;
  if (!isSent) return;
  event.preventDefault();
  if (!send.hidden) form.requestSubmit();
});

/** That an answer is ready needs no telling where it is in sight. */
addEventListener("belfry-message", (event) => {
  const { target, detail } = /** @type {CustomEvent<{message: import("../belfry.js").Message & {data?: {run?: string}}}>} */ (event);
  if (document.hidden || !conversation.shows(detail.message.data?.run ?? "")) return;
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

stop.addEventListener("click", () => conversation.stop());
addEventListener("popstate", () => location.reload()); // back, or forward, to another answer
model.value = localStorage.getItem(MODEL_KEY) ?? model.value;
earlier.open = matchMedia("(min-width: 56rem)").matches;
offerModels().catch(() => {}); // without it, a name is typed
list();
open();
