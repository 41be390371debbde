// Trying again: the delays between attempts, and a stream that is opened again whenever it breaks. A user's feed (`link.js`) and a run (`run.js`) are followed by it.

import { isHidden } from "./events.js";
import { Refusal } from "./server.js";
import { Stream } from "./stream.js";

/** @import { Server } from "./server.js" */
/** @import { Problem, State, StreamEvent } from "./types.js" */

const BACKOFF_FIRST_MS = 1_000;
export const BACKOFF_MOST_MS = 30_000;
const READY_MS = 5_000; // a stream that has not said `ready` by then may be held back by a proxy that buffers
const LATE_MS = 30_000; // or the server is slow: the stream stays open for so long beside the fallback
export const SILENCE_MS = 40_000; // heartbeats come every 15 s
const SILENCE_HIDDEN_MS = 75_000;
const CHECK_MS = 3_000;
const STREAM_AGAIN_FIRST_MS = 60_000;
const STREAM_AGAIN_MOST_MS = 600_000;
/** After a goodbye with one of these reasons the client waits for the user: two tabs would evict each other for ever. */
const FINAL_REASONS = new Set(["replaced", "revoked"]);
const UNREACHABLE = "Check its address, and connect-src in the page's CSP.";
const DISCONNECTED_MS = 60_000; // after an administrator's disconnect: the least time before the client comes back

/** @param {number} ms */
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Random delays between attempts, up to a limit that doubles each time. A thousand clients then don't return at once. */
export class Backoff {
  #attempt = 0;

  /** @returns {number} milliseconds */
  next() {
    return Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt++);
  }

  reset() {
    this.#attempt = 0;
  }
}

/** @typedef {{close: () => void}} Fallback */
/**
 * Why nothing gets through.
 * @typedef {object} Diagnosis
 * @property {Refusal | null} refusal null: the server sees no reason any more
 * @property {() => void} [act] does what follows from it, unless the attempt is out of date by then
 */
/**
 * What is followed.
 * @typedef {object} Followed
 * @property {() => Promise<string>} url the address of the stream, from `cursor()` on
 * @property {() => string} cursor
 * @property {() => Iterable<string>} types the event types to listen for
 * @property {(event: StreamEvent) => void} take takes each event except `goodbye`
 * @property {(failed: () => void) => Fallback} fallBack fetches what the stream would tell, while a proxy holds streams back
 * @property {() => Promise<Diagnosis>} diagnose
 * @property {(state: State, reason: string) => void} say the reason is a code, or that of a goodbye, or ""
 * @property {(problem: Problem) => void} complain tells developers, once for each problem
 * @property {() => void} [drop] a stream ended
 */

/**
 * An EventSource gives up for good at any answer except 200, and retries at a fixed interval. It gets one such retry; after
 * that this class reconnects with a growing, random delay. While no stream gets through, the fallback runs. A stream that
 * says `ready` late ends the fallback. One that says nothing is closed, and a stream is tried again beside the fallback.
 */
export class Reconnect {
  /** @type {Stream | null} */ #stream = null;
  /** @type {Fallback | null} */ #fallback = null;
  /** @type {State} */ #state = "idle";
  #server;
  #followed;
  #backoff = new Backoff();
  #attempt = 0; // whatever an older attempt still tells is ignored
  #ownRetries = 0; // that the EventSource may still make
  #heardAt = 0;
  #streamAgainMs = STREAM_AGAIN_FIRST_MS;
  #complaint = ""; // the latest, since it worked
  #timer = 0; // one thing at a time is awaited: `ready`, the next attempt, or a stream beside the fallback
  #watchdog = 0;

  /** @param {Server} server @param {Followed} followed */
  constructor(server, followed) {
    this.#server = server;
    this.#followed = followed;
  }

  open() {
    clearInterval(this.#watchdog);
    this.#watchdog = setInterval(() => this.check(), CHECK_MS);
    this.#connect();
  }

  close() {
    clearInterval(this.#watchdog);
    this.#drop();
    this.#state = "idle";
  }

  /** The network or the page is back: look now instead of later. */
  wake() {
    if (this.#state === "waiting") this.#connect();
    else this.check();
  }

  /** The user wants to go on after a final goodbye or a refusal. */
  resume() {
    if (this.#state === "live" || this.#state === "polling") return;
    this.#backoff.reset();
    this.#connect();
  }

  /** @param {string} type */
  listen(type) {
    this.#stream?.listen(type);
  }

  /** The fallback got an answer. */
  hear() {
    this.#backoff.reset();
    this.#say("polling");
  }

  async #connect() {
    this.#dropStream();
    const attempt = this.#attempt;
    if (!this.#fallback) this.#say("connecting");
    const url = await this.#followed.url().catch((error) => error);
    if (attempt !== this.#attempt) return;
    if (typeof url !== "string") return this.#fail(url);
    this.#allowRetry();
    this.#heardAt = Date.now();
    this.#stream = new Stream(url, this.#followed.cursor(), this.#followed.types(), this.#onEvent, this.#onError);
    this.#timer = setTimeout(() => this.#fallBack(), READY_MS);
  }

  /** A ticket opens one stream, so the EventSource's own retry would be refused. */
  #allowRetry() {
    this.#ownRetries = this.#server.usesTickets ? 0 : 1;
  }

  #onEvent = (/** @type {StreamEvent} */ event) => {
    this.#heardAt = Date.now();
    if (event.type === "goodbye") return this.#onGoodbye(JSON.parse(event.data).reason);
    if (event.type === "ready") this.#onReady();
    this.#followed.take(event);
  };

  #onReady() {
    clearTimeout(this.#timer);
    this.#dropFallback();
    this.#backoff.reset();
    this.#allowRetry();
    this.#streamAgainMs = STREAM_AGAIN_FIRST_MS;
    this.#complaint = "";
    this.#say("live");
  }

  /** @param {string} reason */
  #onGoodbye(reason) {
    if (reason === "expired") this.#server.forgetToken();
    if (FINAL_REASONS.has(reason) || reason === "disconnected") return this.#stop(reason);
    if (!this.#server.usesTickets) return; // the stream ends now, and the browser retries after the delay it was told
    this.#drop();
    this.#say("connecting");
    this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  /** The server ended the connection, and does not want it back at once. @param {string} reason */
  #stop(reason) {
    this.#drop();
    this.#say("stopped", reason);
    this.complain(new Refusal(0, { code: reason, detail: `The server ended it: ${reason}` }));
    if (reason === "disconnected") this.#timer = setTimeout(() => this.#connect(), DISCONNECTED_MS * (1 + Math.random()));
  }

  #onError = (/** @type {boolean} */ closed) => {
    if (this.#fallback) return this.#tryLater(); // the fallback works, or reports by itself that it does not
    if (closed || this.#ownRetries-- <= 0) return this.#fail();
    this.#say("connecting");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fallBack(), READY_MS + BACKOFF_MOST_MS); // a goodbye may have named a long delay
  };

  /** No `ready` in time: use the fallback, and leave the stream some more time. */
  #fallBack() {
    this.#fallback ??= this.#followed.fallBack(() => this.#fail());
    this.#timer = setTimeout(() => this.#tryLater(LATE_MS), LATE_MS);
  }

  /** No stream gets through: try one again beside the fallback, now and then. @param {number} [waitedMs] of that time */
  #tryLater(waitedMs = 0) {
    this.#dropStream();
    this.#timer = setTimeout(() => this.#connect(), this.#streamAgainMs - waitedMs);
    this.#streamAgainMs = Math.min(STREAM_AGAIN_MOST_MS, 2 * this.#streamAgainMs);
  }

  /** Nothing gets through: find out why, and come back later where that makes sense. */
  /** @param {unknown} [error] of a call that should have prepared the stream */
  async #fail(error) {
    this.#drop();
    this.#say("waiting");
    const attempt = this.#attempt;
    const delay = this.#backoff.next();
    const { refusal, act } = error instanceof Refusal ? { refusal: error } : await this.#followed.diagnose();
    if (attempt !== this.#attempt) return;
    act?.();
    if (attempt !== this.#attempt) return; // it was closed for that reason
    if (refusal) this.complain(refusal);
    if (refusal?.denied) return this.#say("denied", refusal.code);
    this.#timer = setTimeout(() => this.#connect(), Math.max(delay, refusal?.retryAfterMs ?? 0));
  }

  /**
   * A connection can die without a sign. Make sure that it lives, or replace it: before another tab is told that it does, and
   * now and then. The timers of a hidden page run once a minute, so its heartbeats may be noticed late.
   * @param {number} [mostMs] how long it may have been silent
   */
  check(mostMs = isHidden() ? SILENCE_HIDDEN_MS : SILENCE_MS) {
    if (!this.#stream || this.#fallback) return;
    if (this.#stream.isClosed || Date.now() - this.#heardAt > mostMs) this.#connect();
  }

  /** The page began to leave and is still here: WebKit stops streams then, and Firefox closes them, without a sign. */
  stay() {
    if (this.#stream && !this.#fallback) this.#connect();
  }

  /** @param {State} state @param {string} [reason] */
  #say(state, reason = "") {
    if (state === this.#state) return;
    this.#state = state;
    this.#followed.say(state, reason);
  }

  /** Tell developers what is wrong, once until it works again. @param {Refusal} refusal */
  async complain({ code, status, message: detail }) {
    const complaint = `${code || status}: ${detail}`;
    if (complaint === this.#complaint) return;
    this.#complaint = complaint;
    const remedy = code === "unreachable" ? UNREACHABLE : await import("./remedies.js").then(({ remedyFor }) => remedyFor(code), () => "");
    console.warn(`Belfry: ${complaint.replace(/\.$/, "")}. ${remedy} See ${this.#server.base}/docs/embedding/#if-the-bell-does-not-connect`);
    this.#followed.complain({ code, status, detail, remedy });
  }

  #drop() {
    this.#dropStream();
    this.#dropFallback();
  }

  #dropStream() {
    this.#attempt++;
    clearTimeout(this.#timer);
    this.#followed.drop?.();
    this.#stream?.close();
    this.#stream = null;
  }

  #dropFallback() {
    this.#fallback?.close();
    this.#fallback = null;
  }
}
