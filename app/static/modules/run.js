// One answer of a model.

import { Listeners, watchPage } from "./events.js";
import { randomId } from "./id.js";
import { Backoff, Reconnect, sleep } from "./reconnect.js";
import { Refusal, Server } from "./server.js";

/** @import { Diagnosis, Fallback } from "./reconnect.js" */
/** @import { ClientOptions, RunAnswer, State, StreamEvent } from "./types.js" */

/** The event types of a run's stream. */
const RUN_TYPES = ["ready", "heartbeat", "message", "stopped", "failed", "goodbye"];
const RUN_END = "[DONE]";
const SNAPSHOT_MS = 1_000; // between two snapshots of an answer whose stream is held back
const STARTS_MOST = 4;

/** @typedef {{index?: number, finish_reason?: string | null, delta?: Record<string, any>}} Choice of a chunk */

/** The text of a member that may also be a list of parts. @param {unknown} content @returns {string} */
function textIn(content) {
  if (typeof content === "string") return content;
  if (Array.isArray(content)) return content.map(textIn).join("");
  return content && typeof content === "object" && "text" in content ? textIn(content.text) : "";
}

/**
 * An answer of a model, while it is generated and afterwards. The server keeps it: it continues when nobody watches, and
 * every page of its user can show it from the beginning.
 *
 *   const run = await BelfryRun.start({ model: "m", messages: [{ role: "user", content: "What is a belfry?" }] });
 *   run.on("text", (text) => show(text));
 *   run.on("end", () => console.log(run.status, run.error?.detail));
 *   run.open();
 */
export class BelfryRun {
  /** The answer so far. */ text = "";
  /** What the model said instead of an answer. */ refusal = "";
  /** What the model thought before it answered, where it tells. */ reasoning = "";
  /** The names of the tools that the model wants called. @type {string[]} */ tools = [];
  /** Why the model stopped: `stop`, `length`, `content_filter`, `tool_calls`; empty while it has not. */ finishReason = "";
  /** What became of it; `gone` when the server has forgotten it. @type {RunAnswer["status"] | "gone"} */ status = "running";
  /** Why it failed. @type {{code: string, detail: string} | null} */ error = null;
  /** @type {State} */ state = "idle";
  /** Why it is `stopped` or `denied`: a code of a refusal, or the reason of a goodbye. */ reason = "";
  #server;
  #reconnect;
  #listeners = new Listeners();
  #cursor = ""; // without one, a stream tells the answer from its beginning
  #stopWatching = () => {};
  #isOpen = false;

  /** A run that was started before. @param {string} id @param {ClientOptions} [options] */
  constructor(id, options = {}) {
    this.id = id;
    this.#server = new Server(options);
    this.#reconnect = new Reconnect(this.#server, {
      url: () => this.#server.runStreamUrl(this.id, this.#cursor),
      cursor: () => this.#cursor,
      types: () => RUN_TYPES,
      take: (event) => this.#onEvent(event),
      fallBack: (failed) => this.#lookNowAndThen(failed),
      diagnose: () => this.#diagnose(),
      say: (state, reason) => this.#say(state, reason),
      complain: (problem) => this.#listeners.emit("error", problem),
    });
  }

  /**
   * Start one. Its `id` makes it safe to ask again where no answer came: nothing starts twice.
   * @param {{model: string, messages: object[], id?: string}} request as OpenAI's API takes it @param {ClientOptions} [options]
   */
  static async start(request, options) {
    const run = new BelfryRun(request.id ?? randomId(), options);
    const backoff = new Backoff();
    for (let tries = 1; ; tries++) {
      try {
        await run.#server.startRun({ ...request, id: run.id });
        return run;
      } catch (error) {
        if (error instanceof Refusal || tries === STARTS_MOST) throw error;
      }
      await sleep(backoff.next());
    }
  }

  /** The user's runs, newest first. @param {number} limit @param {ClientOptions} [options] */
  static list(limit, options = {}) {
    return new Server(options).runs(limit);
  }

  /**
   * Hear of `text` (all of it, and the new piece), `chunk` (earlier ones merged), `state`, `end` or `error`.
   * @param {"text" | "chunk" | "state" | "end" | "error"} type @param {(...told: any[]) => void} listener
   * @returns {() => void} takes the listener away
   */
  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  /** What the server knows of it now. Throws a `Refusal`. */
  load() {
    return this.#server.run(this.id);
  }

  /** Follow it to its end. */
  open() {
    if (this.#isOpen || this.status !== "running") return;
    this.#isOpen = true;
    this.#stopWatching = watchPage({
      leave: () => this.#leave(),
      restore: () => this.#reconnect.open(),
      wake: () => this.#reconnect.wake(),
      stay: () => this.#reconnect.stay(),
    });
    this.#reconnect.open();
  }

  /** Stop following. The run goes on. */
  close() {
    this.#isOpen = false;
    this.#stopWatching();
    this.#leave();
  }

  /** Stop the run itself, for everyone. The stream tells its end. Throws a `Refusal`. */
  stop() {
    return this.#server.stopRun(this.id);
  }

  /** Go on after the server said stop: the user asked for it. */
  resume() {
    this.#server.forgetToken();
    if (this.#isOpen) this.#reconnect.resume();
  }

  /** @param {StreamEvent} event */
  #onEvent({ type, data, cursor }) {
    if (type === "ready" && this.#cursor === "") this.#clear(); // the stream starts from the beginning and replaces what a snapshot showed
    this.#cursor = cursor || this.#cursor;
    if (data === RUN_END) return this.#end(this.status === "running" ? "done" : this.status);
    if (type === "message") return this.#take(JSON.parse(data));
    if (type === "stopped") this.status = type;
    if (type === "failed") [this.status, this.error] = [type, JSON.parse(data)];
  }

  /** @param {{choices?: Choice[]}} chunk */
  #take(chunk) {
    const choice = chunk.choices?.find?.(({ index }) => !index);
    const delta = choice?.delta ?? {};
    this.refusal += textIn(delta.refusal);
    this.reasoning += textIn(delta.reasoning_content ?? delta.reasoning);
    for (const call of delta.tool_calls ?? []) this.#addTool(call?.function?.name);
    this.finishReason = choice?.finish_reason || this.finishReason;
    const piece = textIn(delta.content);
    if (piece) this.#setText(this.text + piece, piece);
    this.#listeners.emit("chunk", chunk);
  }

  /** Some upstreams repeat the name with each part of a call. @param {string} [name] */
  #addTool(name) {
    if (name && this.tools.at(-1) !== name) this.tools.push(name);
  }

  #clear() {
    [this.refusal, this.reasoning, this.finishReason, this.tools] = ["", "", "", []];
    this.#setText("", "");
  }

  /** Fetch the run's state once a second instead of reading its stream. @param {() => void} failed @returns {Fallback} */
  #lookNowAndThen(failed) {
    const stopped = new AbortController();
    const look = async () => {
      for (; !stopped.signal.aborted; await sleep(SNAPSHOT_MS)) {
        const known = await this.#server.run(this.id).catch(() => null);
        if (stopped.signal.aborted) return;
        if (known === null) return failed();
        if (known.ended) return this.#settle(known);
        this.#show(known);
        this.#reconnect.hear();
      }
    };
    look();
    return { close: () => stopped.abort() };
  }

  /** @returns {Promise<Diagnosis>} */
  async #diagnose() {
    try {
      const known = await this.#server.run(this.id);
      return { refusal: null, act: () => known.ended && this.#settle(known) };
    } catch (error) {
      if (!(error instanceof Refusal)) return { refusal: await this.#server.noAnswer() };
      const isGone = error.status === 404 || error.status === 410;
      return { refusal: error, act: () => isGone && this.#lose(error) };
    }
  }

  /** Take the answer from the server's state, in the place of what the stream told. @param {RunAnswer} known */
  #show({ text = "", refusal = "", reasoning = "", finish_reason: reason, tool_calls: calls = [] }) {
    this.#cursor = "";
    [this.refusal, this.reasoning, this.finishReason] = [refusal, reasoning, reason ?? ""];
    this.tools = calls.map((call) => call.function.name);
    if (text !== this.text) this.#setText(text, "");
  }

  /** @param {RunAnswer} known */
  #settle(known) {
    this.#show(known);
    this.error = known.error ?? null;
    this.#end(known.status);
  }

  /** @param {Refusal} refusal */
  #lose({ code, message }) {
    this.error = { code, detail: message };
    this.#end("gone");
  }

  /** @param {BelfryRun["status"]} status */
  #end(status) {
    this.status = status;
    this.close();
    this.#listeners.emit("end");
  }

  /** @param {string} text @param {string} piece */
  #setText(text, piece) {
    this.text = text;
    this.#listeners.emit("text", text, piece);
  }

  #leave() {
    this.#reconnect.close();
    this.#say("idle");
  }

  /** @param {State} state @param {string} [reason] */
  #say(state, reason = "") {
    if (state === this.state) return;
    [this.state, this.reason] = [state, reason];
    this.#listeners.emit("state", state);
  }
}
