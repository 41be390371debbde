// A live connection that mends itself: an EventSource, and a new one from the same cursor whenever that gives up.
//
// A native EventSource reconnects after a cut, but any answer other than 200 closes it for good. And it only delivers the
// event types that someone listens to: a message with an `event` of its own arrives under that name and nowhere else, so
// the page names the types that it knows (`listen`); others show up with the next look at the feed.

const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MOST_MS = 30_000;
const SILENCE_MOST_MS = 70_000; // heartbeats come every 15 s; hidden tabs may run timers only once a minute
const FINAL = new Set(["replaced", "revoked", "expired"]); // reasons of a goodbye after which coming back is wrong

/** Full jitter: anything up to a limit that doubles, so that a thousand clients don't come back at once. */
export function backoff(attempt) {
  return Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** attempt);
}

export class Connection {
  #cursor = "";
  #source = null;
  #types = new Set(["message"]);
  #attempt = 0;
  #timer = 0;
  #watchdog = 0;
  #handlers;

  /**
   * @param handlers `message(message)`, `reset()` when history was lost, `state(name)` with connecting, live or stopped,
   *   and `mayReturn()`, awaited before a closed connection is tried again: false means stop.
   */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Receive everything after `cursor`, as `GET /feed` gave it. */
  open(cursor) {
    this.#cursor = cursor;
    this.#connect();
  }

  /** Go on where it was left, for example when the page comes back out of the browser's cache. */
  resume() {
    if (this.#source === null) this.#connect();
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  /** Also receive messages of the event type `type`. */
  listen(type) {
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#onMessage);
  }

  #connect() {
    this.close();
    this.#handlers.state("connecting");
    const source = new EventSource(`/stream?last_event_id=${encodeURIComponent(this.#cursor)}`);
    for (const type of this.#types) source.addEventListener(type, this.#onMessage);
    source.addEventListener("ready", this.#onReady);
    source.addEventListener("heartbeat", this.#heard);
    source.addEventListener("reset", this.#onReset);
    source.addEventListener("goodbye", this.#onGoodbye);
    source.addEventListener("error", this.#onError);
    this.#source = source;
    this.#watch();
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#connect(), SILENCE_MOST_MS);
  }

  #heard = (event) => {
    if (event.lastEventId) this.#cursor = event.lastEventId;
    this.#attempt = 0;
    this.#watch();
  };

  #onReady = (event) => {
    this.#heard(event);
    this.#handlers.state("live");
  };

  #onMessage = (event) => {
    this.#heard(event);
    this.#handlers.message(JSON.parse(event.data));
  };

  #onReset = (event) => {
    this.#heard(event);
    this.#handlers.reset();
  };

  #onGoodbye = (event) => {
    if (!FINAL.has(JSON.parse(event.data).reason)) return; // it reconnects by itself, after the delay that came along
    this.close();
    this.#handlers.state("stopped");
  };

  #onError = () => {
    this.#handlers.state("connecting");
    if (this.#source?.readyState !== EventSource.CLOSED) return;
    this.close();
    this.#timer = setTimeout(this.#tryAgain, backoff(this.#attempt++));
  };

  #tryAgain = async () => {
    if (await this.#handlers.mayReturn()) this.#connect();
    else this.#handlers.state("stopped");
  };
}
