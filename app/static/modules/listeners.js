// Event listeners.

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
