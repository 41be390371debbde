// What the modules need of a browser, played: EventSource, document, window events. The clock is node's mock.

import { mock } from "node:test";

/** The streams that were opened, the newest last. */
export const streams = [];

class PlayedEventSource {
  static CLOSED = 2;
  readyState = 0;
  #listeners = new Map();

  constructor(url) {
    this.url = url;
    streams.push(this);
  }

  addEventListener(type, listener) {
    this.#listeners.set(type, listener);
  }

  close() {
    this.readyState = 2;
  }

  /** The server sends an event. */
  say(type, data = {}, lastEventId = "") {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    if (this.readyState < 2) this.#listeners.get(type)?.({ type, data: text, lastEventId });
  }

  /** The connection ends; `closed`: for good. */
  fail(closed = true) {
    this.readyState = closed ? 2 : 0;
    this.onerror?.();
  }
}

/** A browser with nothing open, at a time of its own. */
export function startBrowser() {
  streams.length = 0;
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const page = new EventTarget();
  globalThis.EventSource = PlayedEventSource;
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, baseURI: "https://push.example/" });
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.dispatchEvent = page.dispatchEvent.bind(page);
}

/** Let promises settle. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Let `ms` pass, and what they bring settle. */
export async function pass(ms) {
  mock.timers.tick(ms);
  await settle();
}
