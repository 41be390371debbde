// One EventSource, and cursors: the places in logs that its events bring.

/** @import { StreamEvent } from "./types.js" */

/** Belfry's own event types. A publisher can't use them, so every other type is a message. */
export const OWN_TYPES = new Set(["ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"]);

/**
 * One EventSource. It delivers only the event types that it listens for: a message with an `event` of its own arrives
 * under that name and under no other.
 */
export class Stream {
  #source;
  #cursor;
  #onEvent;

  /**
   * @param {string} url @param {string} cursor where it begins @param {Iterable<string>} types
   * @param {(event: StreamEvent) => void} onEvent @param {(closed: boolean) => void} onError
   */
  constructor(url, cursor, types, onEvent, onError) {
    this.#source = new EventSource(url);
    this.#cursor = cursor;
    this.#onEvent = onEvent;
    for (const type of types) this.listen(type);
    this.#source.onerror = () => onError(this.isClosed);
  }

  /** @param {string} type */
  listen(type) {
    this.#source.addEventListener(type, this.#take);
  }

  /** Firefox ends a stream without an error when a navigation begins, also one that becomes a download. */
  get isClosed() {
    return this.#source.readyState === EventSource.CLOSED;
  }

  close() {
    this.#source.close();
    this.#source.onerror = null;
    this.#onEvent = () => {};
  }

  #take = (/** @type {MessageEvent<string>} */ { type, data, lastEventId }) => {
    const kept = lastEventId !== this.#cursor; // an event without an id repeats the id of the event before it
    this.#cursor = lastEventId;
    this.#onEvent({ type, data, cursor: lastEventId, kept });
  };
}

/** The offsets of a cursor by epoch. @param {string} cursor */
function offsetsOf(cursor) {
  const pairs = cursor.split("-").map((pair) => pair.split("."));
  return new Map(pairs.map(([epoch, offset]) => [epoch, Number(offset)]));
}

/**
 * Whether a client at `place` has everything before `other`. A client without a place starts now, so it misses nothing.
 * @param {string} place @param {string} other
 */
export function reaches(place, other) {
  if (place === other || place === "") return true;
  const offsets = offsetsOf(place);
  return Boolean(other) && [...offsetsOf(other)].every(([epoch, offset]) => (offsets.get(epoch) ?? -1) >= offset);
}

/** The place `other`, moved ahead in each log where `place` is ahead of it. @param {string} place @param {string} other */
export function further(place, other) {
  if (place === other || place === "" || other === "") return other || place;
  const offsets = offsetsOf(place);
  return [...offsetsOf(other)].map(([epoch, offset]) => `${epoch}.${Math.max(offset, offsets.get(epoch) ?? 0)}`).join("-");
}
