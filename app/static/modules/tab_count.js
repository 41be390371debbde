// How many tabs share a connection.

import { sleep } from "./backoff.js";
import { Refusal } from "./server.js";
import { PULSE_MS } from "./tabs.js";

/** @import { Server } from "./server.js" */

const TABS_MOST = 1_000; // that the server accepts
const COUNT_MS = 300; // longer than counting takes

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
