// Events: listeners of our own objects, and what happens to the page (it is hidden, left, frozen, restored, offline).

const STAY_MS = 1_000; // after a navigation began

/** Whether the user does not see the page. A worker has no page, and works as if it were visible. */
export const isHidden = () => Boolean(globalThis.document?.hidden);

/**
 * @typedef {object} PageEvents
 * @property {() => void} leave the page is left; an open connection would keep it out of the back/forward cache
 * @property {() => void} restore it came back out of that cache
 * @property {() => void} wake it is visible again, or the network is back
 * @property {() => void} stay a navigation began and the page is still here: it became a download, perhaps
 * @property {() => void} [freeze] Chromium suspends it
 * @property {() => void} [thaw] and resumes it
 */

/** Call `on` as the page's life goes on. @param {PageEvents} on @returns {() => void} stops that */
export function watchPage({ leave, restore, wake, stay, freeze = () => {}, thaw = () => {} }) {
  const watching = new AbortController();
  const { signal } = watching;
  let staying = 0;
  addEventListener("beforeunload", () => {
    clearTimeout(staying);
    staying = setTimeout(() => signal.aborted || stay(), STAY_MS);
  }, { signal });
  addEventListener("pagehide", () => {
    clearTimeout(staying);
    leave();
  }, { signal });
  addEventListener("pageshow", ({ persisted }) => persisted && restore(), { signal });
  addEventListener("online", wake, { signal });
  const { document } = globalThis; // a worker has none
  document?.addEventListener("visibilitychange", () => document.hidden || wake(), { signal });
  document?.addEventListener("freeze", freeze, { signal });
  document?.addEventListener("resume", thaw, { signal });
  return () => watching.abort();
}

/** Listeners by event type. When one of them fails, the error is reported and the others are still called. */
export class Listeners {
  /** @type {Map<string, Set<(...told: any[]) => void>>} */ #byType = new Map();

  /** @param {string} type @param {(...told: any[]) => void} listener @returns {() => void} takes the listener away */
  add(type, listener) {
    const listeners = this.#byType.get(type) ?? new Set();
    this.#byType.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** @param {string} type @param {...unknown} told */
  emit(type, ...told) {
    for (const listener of this.#byType.get(type) ?? []) {
      try {
        listener(...told);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
