// Ids: makes new ones, and remembers those that were seen.

const REMEMBERED_IDS = 4_096;

/** 128 random bits in hexadecimal; `crypto.randomUUID` needs https. */
export const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A set that forgets its oldest members. */
export class Recent {
  #seen = new Set();

  /** @param {string} id @returns {boolean} whether it is new */
  add(id) {
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED_IDS) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }
}
