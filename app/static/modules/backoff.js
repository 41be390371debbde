// Delays between tries.

const BACKOFF_FIRST_MS = 1_000;
export const BACKOFF_MOST_MS = 30_000;

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
