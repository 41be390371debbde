// The tabs of one browser: one of them leads, and all are counted.

import { isHidden } from "./events.js";
import { sleep } from "./reconnect.js";
import { Refusal } from "./server.js";

/** @import { Server } from "./server.js" */

export const PULSE_MS = 3_000;

const TABS_MOST = 1_000; // that the server accepts
const COUNT_MS = 300; // longer than counting takes
const FROZEN_MS = 10_000;

/**
 * The tabs of one browser that want the same stream. One tab leads: it opens the stream and tells the others what it
 * receives. Over HTTP/1.1 browsers open six connections to a host, for all tabs together.
 *
 * The leader holds a Web Lock, so another tab takes over when it closes. A frozen leader keeps the lock. A visible tab
 * steals it: at once if the leader announced the freeze, otherwise when the leader does not answer. The old leader notices
 * this when it thaws. Two tabs may lead for a moment: both tell the same, and the others ignore what they know already.
 */
export class TabGroup {
  static get isPossible() {
    return "locks" in navigator && "BroadcastChannel" in globalThis; // Web Locks need https or localhost
  }

  leads = false;
  #name;
  #on;
  /** @type {BroadcastChannel | null} */ #channel = null;
  #waiting = new AbortController();
  #asked = 0; // the number of the latest request for the lock; older ones are ignored
  #release = () => {};
  #heardAt = 0;
  #timer = 0;

  /**
   * @param {string} name
   * @param {{lead: () => void, stepDown: () => void, ask: () => void, message: (message: any) => void}} on
   */
  constructor(name, on) {
    this.#name = name;
    this.#on = on;
  }

  join() {
    if (!TabGroup.isPossible) return this.#lead();
    try {
      this.#channel = new BroadcastChannel(this.#name);
    } catch {
      return this.#lead(); // the browser blocks it here
    }
    this.#channel.onmessage = ({ data: { byLeader, isFreezing, message } }) => {
      if (isFreezing) return this.#replaceLeader();
      if (byLeader) this.#heardAt = Date.now();
      this.#on.message(message);
    };
    this.#timer = setInterval(() => this.#checkPulse(), PULSE_MS);
    this.wake();
    this.#queue();
  }

  leave() {
    clearInterval(this.#timer);
    this.#waiting.abort();
    this.#release();
    this.leads = false;
    this.#channel?.close();
    this.#channel = null;
  }

  /**
   * The page is about to be frozen. A lock that is released now stays held in Chromium until the page thaws, so a visible
   * tab has to steal it.
   */
  freeze() {
    if (this.leads) this.#channel?.postMessage({ isFreezing: true });
    this.leave();
  }

  /** The number of tabs: each of them holds the lock or waits for it. 0: unknown. */
  async size() {
    if (this.#channel === null) return 0;
    const { held = [], pending = [] } = await navigator.locks.query();
    const here = [...held, ...pending].filter(({ name }) => name === this.#name);
    return new Set(here.map(({ clientId }) => clientId)).size; // a page may have several clients
  }

  /** @param {any} message tells every other tab */
  post(message) {
    this.#channel?.postMessage({ byLeader: this.leads, message });
  }

  /** The page is visible again. While it was hidden, it asked for no pulse. */
  wake() {
    this.#heardAt = Date.now();
    if (!this.leads) this.#on.ask();
  }

  #queue() {
    this.#waiting = new AbortController();
    this.#hold({ signal: this.#waiting.signal });
  }

  /** @param {LockOptions} options */
  #hold(options) {
    const asked = ++this.#asked;
    const held = () => new Promise((resolve) => {
      if (this.#channel === null || asked !== this.#asked) return resolve(undefined); // the tab left or asked again meanwhile
      this.#release = () => resolve(undefined);
      this.#lead();
    });
    const refused = (/** @type {Error} */ { name }) => (name === "AbortError" ? this.#onLost() : this.#leadAlone());
    navigator.locks.request(this.#name, options, held).catch((error) => asked === this.#asked && refused(error));
  }

  #lead() {
    this.leads = true;
    this.#on.lead();
  }

  /** The browser gives no locks here, as in a sandboxed frame. */
  #leadAlone() {
    if (this.#channel && !this.leads) this.#lead();
  }

  /** The lock was stolen, perhaps before this tab learned that it had it. */
  #onLost() {
    if (this.#channel === null) return;
    if (this.leads) this.#on.stepDown();
    this.leads = false;
    this.#queue();
  }

  #checkPulse() {
    if (this.leads || isHidden()) return;
    this.#on.ask();
    if (Date.now() - this.#heardAt >= FROZEN_MS) this.#replaceLeader();
  }

  #replaceLeader() {
    if (this.leads || isHidden()) return;
    this.#waiting.abort();
    this.#hold({ steal: true });
  }
}

/**
 * Tells the server how many tabs share the connection, for administrators: in the stream's address, and again after each
 * change, with one call at a time and at most one in a second and a half. After a refusal it waits for the next change.
 */
export class TabCount {
  #server;
  #size;
  #connection = ""; // its name, while it is open
  #given = 0; // in the stream's address, which the browser uses again when it retries
  #told = 0;
  #lookedAt = 0;
  #isLooking = false;

  /** @param {Server} server @param {() => Promise<number>} size 0: nobody knows */
  constructor(server, size) {
    this.#server = server;
    this.#size = size;
  }

  /** For the address of a stream. */
  async give() {
    this.#given = await this.#count();
    return this.#given;
  }

  /** The stream that was given a number has begun. @param {{connection?: string}} ready */
  begin({ connection = "" }) {
    this.#connection = connection;
    this.#told = this.#given;
  }

  end() {
    this.#connection = "";
  }

  async look() {
    if (!this.#connection || this.#isLooking || Date.now() - this.#lookedAt < PULSE_MS / 2) return;
    this.#isLooking = true;
    this.#lookedAt = Date.now();
    await this.#tell(await this.#count());
    this.#isLooking = false;
  }

  /** @param {number} tabs */
  async #tell(tabs) {
    const connection = this.#connection;
    if (!connection || !tabs || tabs === this.#told) return;
    try {
      await this.#server.tellTabs(connection, tabs);
    } catch (error) {
      if (!(error instanceof Refusal)) return; // no answer: the next look tries again
    }
    if (connection === this.#connection) this.#told = tabs;
  }

  async #count() {
    const nobodyKnows = sleep(COUNT_MS).then(() => 0); // a stream waits for this number
    return Math.min(TABS_MOST, await Promise.race([this.#size().catch(() => 0), nobodyKnows]));
  }
}
