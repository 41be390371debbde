// Belfry in the browser. One module, no dependency, no build step; types in JSDoc, checked by `tsc --checkJs`.
//
//   <script type="module" src="https://push.example.com/static/belfry.js"></script>
//   <belfry-feed token-url="/belfry-token"></belfry-feed>
//
// `BelfryClient` is a connection that mends itself and that all tabs of a browser share. `<belfry-feed>` is a bell with
// its feed, made of nothing but that client. `BelfryRun` is one answer of a model, followed in the same way. What a message
// says was written by someone else: it only ever becomes text, or a checked link. Nothing here needs inline scripts or
// styles, or a Trusted Types policy.

/** @typedef {{label: string, url?: string, id?: string}} Action */
/**
 * @typedef {object} Message As it was published; `read` and `archived` are this user's.
 * @property {string} id
 * @property {string} time RFC 3339
 * @property {string} [event]
 * @property {string} [key] a later message with the same key takes the earlier one's place
 * @property {string} [title]
 * @property {string} [body]
 * @property {string} [url]
 * @property {"info" | "success" | "warning" | "error"} [level]
 * @property {string[]} [tags]
 * @property {Action[]} [actions]
 * @property {unknown} [data]
 * @property {string} [topic]
 * @property {true} [everyone]
 * @property {string} [expires_at] RFC 3339
 * @property {boolean} [read]
 * @property {boolean} [archived]
 */
/** @typedef {{messages: Message[], next: string | null, unread: number, cursor: string, revision?: number}} Page */
/**
 * @typedef {object} RunAnswer What the server knows of a run.
 * @property {string} id
 * @property {"running" | "done" | "stopped" | "failed"} status
 * @property {string} model
 * @property {string} title the beginning of the question
 * @property {string} started RFC 3339
 * @property {string | null} ended RFC 3339
 * @property {{code: string, detail: string}} [error]
 * @property {string} [text] the answer so far; a list doesn't tell it
 * @property {string | null} [finish_reason] why the model stopped
 * @property {string} [refusal] what the model said instead of an answer
 * @property {string} [reasoning] what the model thought before it answered
 * @property {{function: {name: string}}[]} [tool_calls] what the model wants called
 */
/**
 * @typedef {object} Block What the stream said: one event.
 * @property {string} type
 * @property {any} data
 * @property {string} cursor the place after it
 * @property {string} [end] the place from which on it is known, where that is not `cursor`: one of a page's messages but the last
 * @property {boolean} kept whether it has a place in a log; what is live only leaves the cursor where it was
 */
/**
 * Where the connection is: `live` by a stream, `polling` while a proxy holds streams back, `waiting` for the next try;
 * `stopped` by the server until the user acts, `denied` for want of a credential.
 * @typedef {"idle" | "connecting" | "live" | "polling" | "waiting" | "stopped" | "denied"} State
 */

const READY_MS = 5_000; // a stream that has not said `ready` by then is held back by a proxy that buffers
const SILENCE_MS = 40_000; // heartbeats come every 15 s
const BACKOFF_FIRST_MS = 1_000;
const BACKOFF_MOST_MS = 30_000;
const ANSWER_MS = 15_000;
const POLL_WAIT_SECONDS = 25; // below the idle limits of proxies
const POLL_PAUSE_MS = 500; // a server that is about to stop doesn't wait
const STREAM_AGAIN_FIRST_MS = 60_000;
const STREAM_AGAIN_MOST_MS = 600_000;
const PULSE_MS = 3_000;
const TABS_MOST = 1_000; // that the server takes
const COUNT_MS = 300; // longer than it takes to count them
const FROZEN_MS = 10_000;
const REMEMBERED_IDS = 4_096;
const WAITING_MOST = 1_000; // blocks that a tab keeps while it fetches what came before them
const SNAPSHOT_MS = 1_000; // between two looks at an answer whose stream is held back
const STARTS_MOST = 4;

/** Belfry's own event types. A publisher can't use them, so whatever else arrives is a message. */
const OWN_TYPES = new Set(["ready", "heartbeat", "updated", "reset", "read", "removed", "goodbye"]);
/** What the stream of a run tells. */
const RUN_TYPES = ["ready", "heartbeat", "message", "stopped", "failed", "goodbye"];
const RUN_END = "[DONE]";
/** Reasons of a goodbye after which coming back unasked is wrong: two tabs would evict each other for ever. */
const FINAL_REASONS = new Set(["replaced", "revoked"]);

/** @param {number} ms */
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A delay between tries: anything up to a limit that doubles, so that a thousand clients don't come back at once. */
class Backoff {
  #attempt = 0;

  /** @returns {number} milliseconds */
  next() {
    return Math.random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** this.#attempt++);
  }

  reset() {
    this.#attempt = 0;
  }
}

/** A set that forgets what was added first. */
class Recent {
  #seen = new Set();

  /** @param {string} id @returns {boolean} whether it is new */
  add(id) {
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    if (this.#seen.size > REMEMBERED_IDS) this.#seen.delete(this.#seen.values().next().value);
    return true;
  }
}

/** Who wants to hear what. A listener's failure is its own: the others still hear. */
class Listeners {
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

/** An answer of the server that is not a success. `code` is Belfry's, or "" when someone else answered. */
export class Refusal extends Error {
  /** @param {Response} answer @param {{code?: string, detail?: string}} problem */
  constructor(answer, problem) {
    super(problem.detail ?? `The server answered ${answer.status}`);
    this.name = "Refusal";
    this.status = answer.status;
    this.code = problem.code ?? "";
    this.retryAfterMs = 1_000 * (Number(answer.headers.get("Retry-After")) || 0);
  }

  /** Whether only a new credential can help. */
  get denied() {
    return this.status === 401 || this.status === 403;
  }
}

/**
 * @typedef {object} ClientOptions
 * @property {string | undefined} [url] where Belfry is; by default where this module came from
 * @property {(() => string | Promise<string>) | undefined} [token] gets a token of the user; without it the session cookie counts
 * @property {string[] | undefined} [topics] by default those that the token names
 */

/** The HTTP side of one Belfry, for one user. */
class Server {
  /** @type {Promise<string> | null} */ #token = null;
  #provider;

  /** @param {ClientOptions} options */
  constructor({ url = import.meta.url, token, topics }) {
    this.origin = new URL(url, document.baseURI).origin;
    this.topics = topics;
    this.#provider = token;
  }

  /** Streams with a ticket can't be resumed by the browser itself: a ticket opens one stream. */
  get usesTickets() {
    return this.#provider !== undefined;
  }

  /** Whom the token is about, "" where a cookie decides. @returns {Promise<string>} */
  async subject() {
    if (!this.#provider) return "";
    const payload = (await this.#getToken()).split(".")[1]?.replaceAll("-", "+").replaceAll("_", "/") ?? "";
    return String(JSON.parse(atob(payload)).sub);
  }

  /** @param {Record<string, string | number>} query @param {AbortSignal} [signal] @returns {Promise<Page>} */
  async feed(query, signal) {
    const answer = await this.#fetch(`/feed?${this.#query(query)}`, { signal: signal ?? null });
    return answer.json();
  }

  /** @param {"read" | "archive"} verb @param {object} change @returns {Promise<{unread: number, revision?: number}>} */
  async mark(verb, change) {
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#fetch(`/feed/${verb}?${this.#query({})}`, { method: "POST", headers, body: JSON.stringify(change), keepalive: true });
    return answer.json();
  }

  /** @param {string} id @returns {Promise<{unread?: number, revision?: number}>} */
  async remove(id) {
    const query = this.#query(isDots(id) ? { id } : {});
    const answer = await this.#fetch(`/feed/${pathSegment(id)}?${query}`, { method: "DELETE", keepalive: true });
    return answer.status === 204 ? {} : answer.json();
  }

  /** The address of the user's stream from `cursor` on, for so many tabs. @param {string} cursor @param {number} tabs @returns {Promise<string>} */
  async streamUrl(cursor, tabs) {
    return `${this.origin}/stream?${this.#query({ ...(await this.#streamQuery(cursor)), ...(tabs && { tabs }) })}`;
  }

  /** So many tabs share the connection now. @param {string} connection as `ready` named it @param {number} tabs */
  async tellTabs(connection, tabs) {
    await this.#fetch(`/presence/tabs?${new URLSearchParams({ connection, tabs: String(tabs) })}`, { method: "POST" });
  }

  /** The address of a run's stream from `cursor` on. @param {string} id @param {string} cursor @returns {Promise<string>} */
  async runStreamUrl(id, cursor) {
    const query = { ...(await this.#streamQuery(cursor)), ...(isDots(id) && { id }) };
    return `${this.origin}/completions/${pathSegment(id)}/stream?${new URLSearchParams(query)}`;
  }

  /** @param {object} request */
  async startRun(request) {
    const headers = { "Content-Type": "application/json" };
    await this.#fetch("/completions", { method: "POST", headers, body: JSON.stringify(request) });
  }

  /** @param {string} id @returns {Promise<RunAnswer>} */
  async run(id) {
    return (await this.#fetch(runPath(id), {})).json();
  }

  /** @param {string} id */
  async stopRun(id) {
    await this.#fetch(runPath(id), { method: "DELETE" });
  }

  /** @param {number} limit @returns {Promise<RunAnswer[]>} */
  async runs(limit) {
    return (await (await this.#fetch(`/completions?limit=${limit}`, {})).json()).completions;
  }

  /**
   * Why no stream can be opened, which an EventSource doesn't tell. HEAD asks without starting one.
   * @param {string} cursor @returns {Promise<Refusal | null>} null: there is no reason, or no server
   */
  async refusal(cursor) {
    const query = this.#query(cursor ? { last_event_id: cursor } : {});
    return this.#fetch(`/stream?${query}`, { method: "HEAD" }).then(() => null, (error) => (error instanceof Refusal ? error : null));
  }

  /** Ask for a new token next time. */
  forgetToken() {
    this.#token = null;
  }

  /** @param {string} cursor */
  async #streamQuery(cursor) {
    /** @type {Record<string, string>} */
    const query = cursor ? { last_event_id: cursor } : {};
    if (this.usesTickets) query.ticket = (await (await this.#fetch("/tickets", { method: "POST" })).json()).ticket;
    return query;
  }

  /** @param {Record<string, string | number>} given */
  #query(given) {
    const commas = this.topics?.some((topic) => topic.includes(","));
    const query = new URLSearchParams(this.topics && !commas ? { topics: this.topics.join(",") } : {});
    if (commas) for (const topic of this.topics ?? []) query.append("topic", topic);
    for (const [name, value] of Object.entries(given)) query.set(name, String(value));
    return query;
  }

  #getToken() {
    this.#token ??= Promise.resolve(this.#provider?.() ?? "");
    this.#token.catch(() => this.forgetToken());
    return this.#token;
  }

  /** @param {string} path @param {RequestInit} init @returns {Promise<Response>} */
  async #fetch(path, init) {
    const answer = await this.#send(path, init);
    if (answer.ok) return answer;
    if (answer.status === 401 && this.usesTickets) {
      this.forgetToken();
      const again = await this.#send(path, init);
      if (again.ok) return again;
    }
    throw new Refusal(answer, await answer.json().catch(() => ({})));
  }

  /** @param {string} path @param {RequestInit} init */
  async #send(path, init) {
    const headers = new Headers(init.headers);
    if (this.#provider) headers.set("Authorization", `Bearer ${await this.#getToken()}`);
    const limit = AbortSignal.timeout(ANSWER_MS + 1_000 * POLL_WAIT_SECONDS);
    const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
    return fetch(this.origin + path, { ...init, headers, signal, credentials: "same-origin", cache: "no-store" });
  }
}

/** Whether an id can't stand in a path, since browsers resolve it there. The query holds it then. @param {string} id */
const isDots = (id) => id === "." || id === "..";

/** @param {string} id */
const pathSegment = (id) => (isDots(id) ? "~" : encodeURIComponent(id));

/** @param {string} id */
const runPath = (id) => `/completions/${pathSegment(id)}${isDots(id) ? `?id=${id}` : ""}`;

/**
 * One EventSource, as blocks. It delivers only the event types that someone listens to: a message with an `event` of its
 * own arrives under that name and nowhere else.
 */
class Stream {
  #source;
  #cursor;
  #onBlock;

  /**
   * @param {string} url @param {string} cursor @param {Iterable<string>} types
   * @param {(block: Block) => void} onBlock @param {(closed: boolean) => void} onError
   */
  constructor(url, cursor, types, onBlock, onError) {
    this.#source = new EventSource(url);
    this.#cursor = cursor;
    this.#onBlock = onBlock;
    for (const type of [...OWN_TYPES, ...types]) this.listen(type);
    this.#source.onerror = () => onError(this.#source.readyState === EventSource.CLOSED);
  }

  /** @param {string} type */
  listen(type) {
    this.#source.addEventListener(type, this.#onEvent);
  }

  close() {
    this.#source.close();
    this.#source.onerror = null;
    this.#onBlock = () => {};
  }

  #onEvent = (/** @type {MessageEvent<string>} */ { type, data, lastEventId }) => {
    const kept = lastEventId !== this.#cursor; // an event without an id repeats the one before
    this.#cursor = lastEventId;
    this.#onBlock({ type, data: JSON.parse(data), cursor: lastEventId, kept });
  };
}

/** Long polling, as the same blocks, for where a proxy holds a stream back. */
class Poll {
  #stop = new AbortController();

  /**
   * @param {Server} server @param {string} cursor
   * @param {(block: Block) => void} onBlock @param {(error: unknown) => void} onError
   */
  constructor(server, cursor, onBlock, onError) {
    this.#run(server, cursor, onBlock).catch((error) => {
      if (!this.#stop.signal.aborted) onError(error);
    });
  }

  close() {
    this.#stop.abort();
  }

  /** @param {Server} server @param {string} cursor @param {(block: Block) => void} onBlock */
  async #run(server, cursor, onBlock) {
    const { signal } = this.#stop;
    if (!cursor) cursor = (await server.feed({ limit: 1 }, signal)).cursor;
    /** @type {Record<string, string | number>} */
    let known = { wait: 0 };
    while (!signal.aborted) {
      const page = await server.feed({ after: cursor, ...known }, signal);
      if (signal.aborted) return;
      const blocks = blocksOf(page, cursor);
      cursor = page.cursor;
      known = { wait: POLL_WAIT_SECONDS, revision: page.revision ?? 0 }; // it ends when either changes
      for (const block of blocks) onBlock(block);
      if (page.messages.length === 0) await sleep(POLL_PAUSE_MS);
    }
  }
}

/**
 * What a stream would have said; the count comes last, when every message is in it.
 * @param {Page} page @param {string} place before it @returns {Block[]}
 */
function blocksOf({ messages, unread, revision, cursor: end }, place) {
  const cursors = messages.map((_, at) => (at < messages.length - 1 ? place : end));
  const blocks = messages.map((message, at) => ({ type: message.event ?? "message", data: message, cursor: cursors[at] ?? end, end, kept: true }));
  return [...blocks, { type: "ready", data: { unread, revision }, cursor: end, kept: false }];
}

/**
 * Tells the server how many tabs share the connection, for administrators: with the stream's address, and again when that
 * changed, one call at a time and not for every tab of a crowd. Who refuses to hear it is left in peace until the next change.
 */
class TabCount {
  #server;
  #size;
  #connection = ""; // its name, while it is open
  #given = 0; // with the stream's address, which the browser takes once more by itself
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
      if (!(error instanceof Refusal)) return; // no answer: the next look tells it again
    }
    if (connection === this.#connection) this.#told = tabs;
  }

  async #count() {
    const nobodyKnows = sleep(COUNT_MS).then(() => 0); // a stream waits for this number
    return Math.min(TABS_MOST, await Promise.race([this.#size().catch(() => 0), nobodyKnows]));
  }
}

/**
 * The way to the server: a stream, or long polling while no stream gets through; a new one whenever it breaks.
 *
 * An EventSource gives up for good at any answer but 200, and a retry of its own comes at a fixed interval: it gets one
 * such try, then this class takes over with a growing, random delay.
 */
class Link {
  /** @type {Stream | null} */ #stream = null;
  /** @type {Poll | null} */ #poll = null;
  /** @type {State} */ #state = "idle";
  #types;
  #server;
  #onBlock;
  #onState;
  #cursor;
  #backoff = new Backoff();
  #attempt = 0; // what an older attempt still has to say doesn't count
  #ownRetries = 0;
  #heardAt = 0;
  #isLost = false; // history, and nobody was told yet
  #streamAgainMs = STREAM_AGAIN_FIRST_MS;
  #timer = 0; // at most one thing is waited for: `ready`, the next try, or a stream beside the polling
  #watchdog = 0;
  #tabs;

  /**
   * @param {Server} server @param {string} cursor @param {Iterable<string>} types @param {() => Promise<number>} tabs how many share it
   * @param {(block: Block) => void} onBlock @param {(state: State) => void} onState
   */
  constructor(server, cursor, types, tabs, onBlock, onState) {
    this.#server = server;
    this.#tabs = new TabCount(server, tabs);
    this.#cursor = cursor;
    this.#types = new Set(types);
    this.#onBlock = onBlock;
    this.#onState = onState;
  }

  open() {
    this.#watchdog = setInterval(() => {
      this.#checkSilence();
      this.lookAtTabs();
    }, PULSE_MS);
    this.#connect();
  }

  /** Another tab came, perhaps, or one went. */
  lookAtTabs() {
    this.#tabs.look();
  }

  close() {
    clearInterval(this.#watchdog);
    this.#drop();
  }

  /** Something changed for the better, perhaps: look now instead of later. */
  wake() {
    if (this.#state === "waiting") this.#connect();
    else this.#checkSilence();
  }

  /** The user wants to go on after a final goodbye or a refusal. */
  resume() {
    if (this.#state === "live" || this.#state === "polling") return;
    this.#backoff.reset();
    this.#connect();
  }

  /** @param {string} type */
  listen(type) {
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#stream?.listen(type);
  }

  async #connect() {
    this.#dropStream();
    const attempt = this.#attempt;
    if (!this.#poll) this.#say("connecting");
    const url = await this.#server.streamUrl(this.#cursor, await this.#tabs.give()).catch(() => null);
    if (attempt !== this.#attempt) return;
    if (url === null) return this.#fail();
    this.#ownRetries = this.#server.usesTickets ? 0 : 1;
    this.#heardAt = Date.now();
    this.#stream = new Stream(url, this.#cursor, this.#types, this.#onStreamBlock, this.#onStreamError);
    this.#timer = setTimeout(() => this.#fallBack(), READY_MS);
  }

  #onStreamBlock = (/** @type {Block} */ block) => {
    this.#heardAt = Date.now();
    this.#cursor = block.cursor || this.#cursor;
    if (block.type === "goodbye") return this.#onGoodbye(block.data.reason);
    if (block.type === "ready") this.#onReady(block.data);
    if (block.type !== "heartbeat") this.#tell(block);
  };

  /** @param {{connection?: string}} ready */
  #onReady(ready) {
    clearTimeout(this.#timer);
    this.#tabs.begin(ready);
    this.#dropPoll();
    this.#backoff.reset();
    this.#ownRetries = this.#server.usesTickets ? 0 : 1;
    this.#streamAgainMs = STREAM_AGAIN_FIRST_MS;
    this.#say("live");
  }

  /** @param {string} reason */
  #onGoodbye(reason) {
    if (reason === "expired") this.#server.forgetToken();
    const stays = FINAL_REASONS.has(reason);
    if (!stays && !this.#server.usesTickets) return; // the stream ends now, and the browser comes back after the delay it was told
    this.#drop();
    this.#say(stays ? "stopped" : "connecting");
    if (!stays) this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #onStreamError = (/** @type {boolean} */ closed) => {
    if (closed || this.#ownRetries-- <= 0) return this.#fail();
    this.#say("connecting");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fallBack(), READY_MS + BACKOFF_MOST_MS); // a goodbye may have named a long delay
  };

  /** No `ready` in time: poll, and try a stream again beside it, now and then. */
  #fallBack() {
    this.#dropStream();
    this.#poll ??= new Poll(this.#server, this.#cursor, this.#onPollBlock, this.#onPollError);
    this.#timer = setTimeout(() => this.#connect(), this.#streamAgainMs);
    this.#streamAgainMs = Math.min(STREAM_AGAIN_MOST_MS, 2 * this.#streamAgainMs);
  }

  #onPollBlock = (/** @type {Block} */ block) => {
    this.#cursor = block.cursor;
    this.#backoff.reset();
    this.#say("polling");
    this.#tell(block);
  };

  #onPollError = (/** @type {unknown} */ error) => {
    if (error instanceof Refusal && error.code === "history_lost") this.#loseHistory();
    this.#fail();
  };

  #loseHistory() {
    this.#cursor = "";
    this.#isLost = true;
  }

  /** Of a loss only now: who fetches the feed again before anything is heard misses what comes between. @param {Block} block */
  #tell(block) {
    if (this.#isLost) this.#onBlock({ type: "reset", data: {}, cursor: block.cursor, kept: true });
    this.#isLost = false;
    this.#onBlock(block);
  }

  /** Nothing gets through: find out why, and come back later where that makes sense. */
  async #fail() {
    this.#drop();
    this.#say("waiting");
    const attempt = this.#attempt;
    const delay = this.#backoff.next();
    const refusal = await this.#server.refusal(this.#cursor);
    if (attempt !== this.#attempt) return;
    if (refusal?.denied) return this.#say("denied");
    if (refusal?.status === 400) this.#loseHistory(); // a cursor of another server, or of topics that are not granted now
    this.#timer = setTimeout(() => this.#connect(), Math.max(delay, refusal?.retryAfterMs ?? 0));
  }

  /** A connection can die without a word. A hidden page's timers hardly run, so its silence means nothing. */
  #checkSilence() {
    if (this.#stream && !this.#poll && !document.hidden && Date.now() - this.#heardAt > SILENCE_MS) this.#connect();
  }

  /** @param {State} state */
  #say(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#onState(state);
  }

  #drop() {
    this.#dropStream();
    this.#dropPoll();
  }

  #dropStream() {
    this.#attempt++;
    clearTimeout(this.#timer);
    this.#tabs.end();
    this.#stream?.close();
    this.#stream = null;
  }

  #dropPoll() {
    this.#poll?.close();
    this.#poll = null;
  }
}

/**
 * The tabs of one browser that want the same stream. One leads, the others hear what it hears: browsers open six
 * connections to a host over HTTP/1.1, for all tabs together.
 *
 * The leader holds a Web Lock, so the next one takes over when its tab closes. A frozen leader keeps the lock: those who
 * can be seen steal it, when it says so beforehand, or when no answer comes as they ask for its pulse. It notices when it
 * thaws. For a moment two may lead; both tell the same, and everyone drops what was told before.
 */
class TabGroup {
  static get isPossible() {
    return "locks" in navigator && "BroadcastChannel" in globalThis; // Web Locks want https, or localhost
  }

  leads = false;
  #name;
  #on;
  /** @type {BroadcastChannel | null} */ #channel = null;
  #waiting = new AbortController();
  #asked = 0; // for the lock: what an older request still brings doesn't count
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
    this.#channel = new BroadcastChannel(this.#name);
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
   * The page is about to be frozen. Chromium doesn't let go of a lock whose release is asked for now until the page thaws,
   * so whoever is seen must take it.
   */
  freeze() {
    if (this.leads) this.#channel?.postMessage({ isFreezing: true });
    this.leave();
  }

  /** How many tabs there are: all of them hold the lock or wait for it. 0 where nobody knows. */
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

  /** The page is seen again: while it was hidden nobody asked for a pulse. */
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
      if (this.#channel === null || asked !== this.#asked) return resolve(undefined); // left, or asked again, meanwhile
      this.#release = () => resolve(undefined);
      this.#lead();
    });
    navigator.locks.request(this.#name, options, held).catch(() => asked === this.#asked && this.#onLost());
  }

  #lead() {
    this.leads = true;
    this.#on.lead();
  }

  /** The lock was stolen, maybe before this tab knew that it had it. */
  #onLost() {
    if (this.#channel === null) return;
    if (this.leads) this.#on.stepDown();
    this.leads = false;
    this.#queue();
  }

  #checkPulse() {
    if (this.leads || document.hidden) return;
    this.#on.ask();
    if (Date.now() - this.#heardAt >= FROZEN_MS) this.#replaceLeader();
  }

  #replaceLeader() {
    if (this.leads || document.hidden) return;
    this.#waiting.abort();
    this.#hold({ steal: true });
  }
}

/** The offsets of a cursor by epoch. @param {string} cursor */
function offsetsOf(cursor) {
  const pairs = cursor.split("-").map((pair) => pair.split("."));
  return new Map(pairs.map(([epoch, offset]) => [epoch, Number(offset)]));
}

/**
 * Whether nothing before `other` is missing at `place`. Nothing ever is at no place at all, where all begins now.
 * @param {string} place @param {string} other
 */
function reaches(place, other) {
  if (place === other || place === "") return true;
  const offsets = offsetsOf(place);
  return Boolean(other) && [...offsetsOf(other)].every(([epoch, offset]) => (offsets.get(epoch) ?? -1) >= offset);
}

/** The place `other`, but in no log behind `place`. @param {string} place @param {string} other */
function further(place, other) {
  if (place === other || place === "" || other === "") return other || place;
  const offsets = offsetsOf(place);
  return [...offsetsOf(other)].map(([epoch, offset]) => `${epoch}.${Math.max(offset, offsets.get(epoch) ?? 0)}`).join("-");
}

/**
 * What a leading tab says. `isSure`: it hears all that this one wants, so between `from` and the block there was nothing.
 * @typedef {{from: string, block: Block | null, isSure: boolean}} Told without a block: that it stands at `from`
 */

/** Whether it is in the history. @param {Told} told */
const isMessage = ({ block }) => block !== null && block.kept && !OWN_TYPES.has(block.type);

/**
 * What a tab makes of what the leading one tells. Each block comes with the place before it: it counts at once where
 * nothing is missing up to there, and waits otherwise until that was fetched, or it would stand before older messages and
 * count as the place up to which all is known. So it doesn't matter who leads, how many do for a moment, or since when this
 * tab listens.
 */
class Follower {
  /** @type {Told[]} */ #before = []; // what waits, and was told before the fetch under way began
  /** @type {Told[]} */ #since = []; // and after that
  #isBehind = false;
  #isOver = false;
  #backoff = new Backoff();
  #timer = 0;
  #on;

  /** @param {{place: () => string, take: (told: Block) => void, move: (place: string) => void, fetch: (place: string) => Promise<Page>, lose: (place: string) => void}} on */
  constructor(on) {
    this.#on = on;
  }

  /** This tab leads, or leaves: what is on its way doesn't count. */
  end() {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** @param {Told} told */
  hear(told) {
    if (!this.#isBehind && this.#isNext(told)) return this.#take(told);
    this.#since.push(told);
    if (this.#before.length + this.#since.length > WAITING_MOST) this.#spill(told);
    if (!this.#isBehind) this.#catchUp();
  }

  /** Too much waits. Messages are fetched as it is; for the rest the feed is fetched again. @param {Told} told the last of it */
  #spill({ from, block }) {
    const cursor = block?.cursor || from;
    this.#before = [];
    this.#since = [{ from: cursor, block: { type: "reset", data: {}, cursor, kept: true }, isSure: true }];
  }

  async #catchUp() {
    this.#isBehind = true;
    try {
      while (await this.#fetch());
      this.#backoff.reset();
    } catch (error) {
      this.#onFailed(error);
    }
  }

  /** @returns {Promise<boolean>} whether something is missing still; if not, the next block counts at once */
  async #fetch() {
    this.#before.push(...this.#since.splice(0));
    const place = this.#on.place();
    const page = await this.#on.fetch(place);
    if (this.#isOver) return false;
    for (const block of blocksOf(page, place)) this.#pass(block);
    if (page.messages.length > 0) return true;
    for (const told of this.#before.splice(0)) if (!isMessage(told)) this.#take(told); // messages came with the pages
    while (this.#since[0] && this.#isNext(this.#since[0])) this.#take(/** @type {Told} */ (this.#since.shift()));
    this.#isBehind = this.#since.length > 0;
    return this.#isBehind;
  }

  /** @param {unknown} error */
  #onFailed(error) {
    if (this.#isOver) return;
    const refusal = error instanceof Refusal ? error : null;
    if (refusal?.status === 400 || refusal?.status === 410) this.#lose(); // nothing leads on from where this tab stands
    this.#isBehind = this.#before.length + this.#since.length > 0;
    if (this.#isBehind) this.#timer = setTimeout(() => this.#catchUp(), Math.max(this.#backoff.next(), refusal?.retryAfterMs ?? 0));
  }

  /** Go on from where the leading tab stands. */
  #lose() {
    const told = [...this.#before.splice(0), ...this.#since.splice(0)];
    this.#on.lose(told[0]?.from ?? "");
    for (const each of told) this.#take(each);
  }

  /** @param {Told} told */
  #isNext({ from, block, isSure }) {
    const place = this.#on.place();
    const isWithin = block?.end && place !== from && !reaches(place, block.end); // of a page: which of its messages are known?
    return isSure && !isWithin && reaches(place, from);
  }

  /** @param {Told} told */
  #take(told) {
    const { from, block } = told;
    const place = this.#on.place();
    if (block === null) return this.#on.move(reaches(place, from) ? further(place, from) : place);
    const isKnown = isMessage(told) && place !== "" && reaches(place, block.end ?? block.cursor);
    const isHere = block.kept || reaches(place, block.cursor); // else it is of a history, or of logs, that this tab doesn't read
    if (!isKnown) this.#pass(isHere ? block : { ...block, cursor: place });
  }

  /** @param {Block} block */
  #pass(block) {
    if (this.#isOver) return; // a listener may have closed the client
    const isNew = block.type === "reset"; // a place of its own, which may be an earlier one
    this.#on.take(isNew ? block : { ...block, cursor: further(this.#on.place(), block.cursor) });
  }
}

/**
 * A user's messages as they come: resumed without a hole, each once, over one connection for all tabs.
 *
 *   const client = new BelfryClient();
 *   client.on("message", (message) => console.log(message.title));
 *   const page = await client.feed();
 *   client.open(page.cursor);
 */
export class BelfryClient {
  /** Where this tab stands. @type {string} */ cursor = "";
  /** @type {State} */ state = "idle";
  /** The user's unread messages. */ unread = 0;
  #behind = 0; // messages still to come that the server has counted
  #server;
  #listeners = new Listeners();
  #types = new Set(["message"]);
  #recent = new Recent();
  /** @type {TabGroup | null} */ #group = null;
  /** @type {Link | null} */ #link = null;
  /** @type {Follower | null} */ #follower = null; // while another tab leads
  #term = ""; // names the time for which this tab leads
  #heard = new Set(); // the terms that know all types of ours
  #user = "";
  #isOpen = false;

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    this.#server = new Server(options);
  }

  /**
   * Hear of messages of the event type `type`, of every message ("*"), of `state` and `unread`, or of Belfry's own
   * `ready`, `read`, `removed`, `updated` and `reset` (history was lost: fetch the feed again).
   * @param {string} type @param {(data: any, block?: Block) => void} listener
   * @returns {() => void} takes the listener away
   */
  on(type, listener) {
    if (!OWN_TYPES.has(type) && !["*", "state", "unread"].includes(type)) this.listen([type]);
    return this.#listeners.add(type, listener);
  }

  /** Have messages of these event types delivered, to whoever listens to "*". @param {Iterable<string>} types */
  listen(types) {
    const added = [...types].filter((type) => !this.#types.has(type));
    if (added.length === 0) return;
    for (const type of added) {
      this.#types.add(type);
      this.#link?.listen(type);
    }
    this.#heard.clear();
    this.#ask();
  }

  /** Receive what comes after `cursor`, as `feed()` gave it; without one, from now on. @param {string} [cursor] */
  async open(cursor = "") {
    if (cursor) this.cursor = cursor;
    if (this.#isOpen) return;
    this.#isOpen = true;
    addEventListener("pagehide", this.#leave);
    addEventListener("pageshow", this.#onPageShow);
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    document.addEventListener("freeze", this.#freeze);
    document.addEventListener("resume", this.#join);
    await this.#join();
  }

  /** Go on after the server said stop: the user asked for it. */
  resume() {
    this.#server.forgetToken();
    if (!this.#isOpen) this.open();
    else if (this.#link) this.#link.resume();
    else this.#group?.post({ kind: "resume" });
  }

  close() {
    this.#isOpen = false;
    removeEventListener("pagehide", this.#leave);
    removeEventListener("pageshow", this.#onPageShow);
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    document.removeEventListener("freeze", this.#freeze);
    document.removeEventListener("resume", this.#join);
    this.#leave();
  }

  /** A page of the feed, newest first. Whatever event types it shows arrive live from now on. @param {Record<string, string | number>} [query] */
  async feed(query = {}) {
    const page = await this.#server.feed(query);
    if (!this.#isConnected) this.#setUnread(page.unread);
    this.listen(page.messages.map((message) => message.event ?? "message"));
    return page;
  }

  /** @param {string[]} ids @param {boolean} [read] */
  markRead(ids, read = true) {
    return this.#counted(this.#server.mark("read", { ids, read }));
  }

  markAllRead() {
    return this.#counted(this.#server.mark("read", { all: true }));
  }

  /** @param {string[]} ids @param {boolean} [archived] */
  archive(ids, archived = true) {
    return this.#counted(this.#server.mark("archive", { ids, archived }));
  }

  /** @param {string} id */
  remove(id) {
    return this.#counted(this.#server.remove(id));
  }

  get #isConnected() {
    return this.state === "live" || this.state === "polling";
  }

  /**
   * A stream tells of the change too, in its order among the messages, so its count is the right one.
   * @param {Promise<{unread?: number}>} answer
   */
  async #counted(answer) {
    const { unread } = await answer;
    if (this.state === "live" || unread === undefined) return;
    this.#setUnread(unread);
    this.#group?.post({ kind: "unread", unread });
  }

  // Together with the other tabs

  #join = async () => {
    const subject = await this.#server.subject().catch(() => "");
    if (!this.#isOpen || this.#group) return;
    const name = ["belfry", this.#server.origin, subject, ...(this.#server.topics ?? [])].join(" ");
    this.#group = new TabGroup(name, {
      lead: () => this.#lead(),
      stepDown: () => this.#stepDown(),
      ask: () => this.#ask(),
      message: (message) => this.#onTab(message),
    });
    this.#follow();
    this.#group.join();
  };

  /** A frozen connection would be useless. */
  #freeze = () => {
    this.#group?.freeze();
    this.#leave();
  };

  /** An open connection would keep the page out of the back/forward cache. */
  #leave = () => {
    this.#dropLink();
    this.#group?.leave();
    this.#group = null;
    this.#unfollow();
    this.#heard.clear();
    this.#setState("idle");
  };

  #onPageShow = (/** @type {PageTransitionEvent} */ event) => {
    if (event.persisted) this.#join();
  };

  #wake = () => {
    if (document.hidden) return;
    this.#group?.wake();
    this.#link?.wake();
  };

  #follow() {
    this.#follower = new Follower({
      place: () => this.cursor,
      take: (block) => this.#receive(block, this.unread), // the leader's count includes it
      move: (place) => { this.cursor = place; },
      fetch: (place) => this.#server.feed({ after: place }),
      lose: (place) => this.#lose(place),
    });
  }

  #unfollow() {
    this.#follower?.end();
    this.#follower = null;
  }

  /** @param {string} place where all is heard from */
  #lose(place) {
    this.cursor = place;
    this.#listeners.emit("reset", {});
  }

  #stepDown() {
    this.#dropLink();
    this.#follow();
  }

  #lead() {
    this.#unfollow();
    this.#term = randomId();
    const tabs = async () => this.#group?.size() ?? 0;
    this.#link = new Link(this.#server, this.cursor, this.#types, tabs, this.#onLinkBlock, this.#onLinkState);
    this.#link.open();
  }

  #dropLink() {
    this.#link?.close();
    this.#link = null;
  }

  #onLinkBlock = (/** @type {Block} */ block) => {
    const unread = this.#count(block);
    this.#group?.post({ kind: "block", leader: this.#term, from: this.cursor, block, unread });
    this.#receive(block, unread);
  };

  #onLinkState = (/** @type {State} */ state) => {
    this.#setState(state);
    this.#pulse();
  };

  #ask() {
    if (!this.#link) this.#group?.post({ kind: "ask", types: [...this.#types] });
  }

  #pulse() {
    const { state, unread, cursor } = this;
    this.#group?.post({ kind: "pulse", leader: this.#term, state, unread, from: cursor, types: [...this.#types] });
  }

  /** @param {any} message */
  #onTab(message) {
    if (message.kind === "unread") this.#setUnread(message.unread);
    else if (this.#link) this.#onFollower(message); // what another leader tells comes by the own stream too
    else if (message.kind === "pulse") this.#onPulse(message);
    else if (message.kind === "block") this.#onTold(message);
  }

  /** @param {{kind: string, types: string[]}} message */
  #onFollower({ kind, types }) {
    if (kind === "resume") this.resume();
    if (kind !== "ask") return;
    this.#link?.lookAtTabs();
    this.listen(types);
    this.#pulse();
  }

  /** @param {{leader: string, state: State, unread: number, from: string, types: string[]}} pulse */
  #onPulse({ leader, state, unread, from = "", types = [...this.#types] }) {
    this.#setState(state);
    if (!this.#isConnected) return;
    this.#setUnread(unread);
    if (![...this.#types].every((type) => types.includes(type))) return this.#ask();
    this.#follower?.hear({ from, block: null, isSure: this.#isSure(leader) });
    this.#heard.add(leader);
  }

  /** @param {{leader: string, from: string, block: Block, unread: number}} told */
  #onTold({ leader, from = "", block, unread }) {
    this.#setUnread(unread);
    this.#follower?.hear({ from, block, isSure: this.#isSure(leader) });
  }

  /** Whether a leading tab hears everything that we want: an event type of ours may be new to it. @param {string} leader */
  #isSure(leader) {
    return this.#types.size === 1 || this.#heard.has(leader);
  }

  // Towards the listeners

  /**
   * The unread messages after `block`. The server counts up to the place where the stream stands, or, in `ready`, ahead of
   * it by the messages that were missed; each further one that is kept is one more.
   * @param {Block} block
   */
  #count({ type, kept, data }) {
    if (OWN_TYPES.has(type)) {
      if (type === "ready") this.#behind = data.behind ?? 0;
      return data.unread ?? this.unread;
    }
    return kept && --this.#behind < 0 ? this.unread + 1 : this.unread;
  }

  /** @param {Block} block @param {number} unread after it */
  #receive(block, unread) {
    this.cursor = block.cursor || this.cursor;
    this.#setUnread(unread);
    if (block.type === "ready") return this.#onReady(block);
    if (OWN_TYPES.has(block.type)) return this.#listeners.emit(block.type, block.data, block);
    if (!this.#recent.add(block.data.id)) return;
    this.#listeners.emit(block.type, block.data, block);
    this.#listeners.emit("*", block.data, block);
  }

  /** @param {Block} block */
  #onReady({ data }) {
    if (this.#user && data.user && data.user !== this.#user) this.#listeners.emit("reset", {}); // someone else signed in meanwhile
    this.#user = data.user ?? this.#user;
    this.#listeners.emit("ready", data);
  }

  /** @param {State} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.#listeners.emit("state", state);
  }

  /** @param {number} unread */
  #setUnread(unread) {
    if (unread === this.unread) return;
    this.unread = unread;
    this.#listeners.emit("unread", unread);
  }
}

/** @typedef {{index?: number, finish_reason?: string | null, delta?: Record<string, any>}} Choice of a chunk */

/** The text of a member that may also be a list of parts. @param {unknown} content @returns {string} */
function textIn(content) {
  if (typeof content === "string") return content;
  if (Array.isArray(content)) return content.map(textIn).join("");
  return content && typeof content === "object" && "text" in content ? textIn(content.text) : "";
}

/**
 * An answer of a model while it is made, and afterwards. It is kept by the server: it goes on when nobody looks, and any
 * page of its user can show it from the beginning.
 *
 *   const run = await BelfryRun.start({ model: "m", messages: [{ role: "user", content: "What is a belfry?" }] });
 *   run.on("text", (text) => show(text));
 *   run.on("end", () => console.log(run.status, run.error?.detail));
 *   run.open();
 */
export class BelfryRun {
  /** The answer so far. */ text = "";
  /** What the model said instead of an answer. */ refusal = "";
  /** What the model thought before it answered, where it tells. */ reasoning = "";
  /** The names of the tools that the model wants called. @type {string[]} */ tools = [];
  /** Why the model stopped: `stop`, `length`, `content_filter`, `tool_calls`; empty while it has not. */ finishReason = "";
  /** What became of it; `gone` when the server has forgotten it. @type {RunAnswer["status"] | "gone"} */ status = "running";
  /** Why it failed. @type {{code: string, detail: string} | null} */ error = null;
  /** @type {State} */ state = "idle";
  #server;
  #listeners = new Listeners();
  #cursor = ""; // without one, a stream tells the answer from its beginning
  /** @type {EventSource | null} */ #source = null;
  #backoff = new Backoff();
  #attempt = 0; // what an older attempt still has to say doesn't count
  #ownRetries = 0;
  #heardAt = 0;
  #timer = 0; // at most one thing is waited for: `ready`, the next try, or the next look
  #watchdog = 0;
  #isOpen = false;

  /** A run that was started before. @param {string} id @param {ClientOptions} [options] */
  constructor(id, options = {}) {
    this.id = id;
    this.#server = new Server(options);
  }

  /**
   * Start one. Its `id` makes it safe to ask again where no answer came: nothing starts twice.
   * @param {{model: string, messages: object[], id?: string}} request as OpenAI's API takes it @param {ClientOptions} [options]
   */
  static async start(request, options) {
    const run = new BelfryRun(request.id ?? randomId(), options);
    const backoff = new Backoff();
    for (let tries = 1; ; tries++) {
      try {
        await run.#server.startRun({ ...request, id: run.id });
        return run;
      } catch (error) {
        if (error instanceof Refusal || tries === STARTS_MOST) throw error;
      }
      await sleep(backoff.next());
    }
  }

  /** The user's runs, newest first. @param {number} limit @param {ClientOptions} [options] */
  static list(limit, options = {}) {
    return new Server(options).runs(limit);
  }

  /**
   * Hear of `text` (all of it, and the piece that is new), `chunk` (each as the upstream sent it), `state` or `end`.
   * @param {"text" | "chunk" | "state" | "end"} type @param {(...told: any[]) => void} listener
   * @returns {() => void} takes the listener away
   */
  on(type, listener) {
    return this.#listeners.add(type, listener);
  }

  /** What the server knows of it now. Raises a `Refusal`. */
  load() {
    return this.#server.run(this.id);
  }

  /** Follow it to its end. */
  open() {
    if (this.#isOpen || this.status !== "running") return;
    this.#isOpen = true;
    addEventListener("pagehide", this.#leave);
    addEventListener("pageshow", this.#onPageShow);
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#connect();
  }

  /** Stop following. The run goes on. */
  close() {
    this.#isOpen = false;
    removeEventListener("pagehide", this.#leave);
    removeEventListener("pageshow", this.#onPageShow);
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#leave();
  }

  /** Stop the run itself, for everyone. Its end is told by the stream. Raises a `Refusal`. */
  stop() {
    return this.#server.stopRun(this.id);
  }

  /** Go on after the server said stop: the user asked for it. */
  resume() {
    this.#server.forgetToken();
    this.#backoff.reset();
    if (this.#isOpen && this.state !== "live") this.#connect();
  }

  async #connect() {
    this.#drop();
    const attempt = this.#attempt;
    this.#say("connecting");
    this.#watchdog = setInterval(() => this.#checkSilence(), PULSE_MS);
    const url = await this.#server.runStreamUrl(this.id, this.#cursor).catch(() => null);
    if (attempt !== this.#attempt) return;
    if (url === null) return this.#fail();
    this.#ownRetries = this.#server.usesTickets ? 0 : 1;
    this.#heardAt = Date.now();
    this.#source = new EventSource(url);
    for (const type of RUN_TYPES) this.#source.addEventListener(type, this.#onEvent);
    this.#source.onerror = this.#onError;
    this.#timer = setTimeout(() => this.#look(), READY_MS);
  }

  #onEvent = (/** @type {MessageEvent<string>} */ { type, data, lastEventId, target }) => {
    if (target !== this.#source) return;
    this.#heardAt = Date.now();
    if (type === "ready") this.#onReady();
    this.#cursor = lastEventId || this.#cursor;
    if (data === RUN_END) return this.#end(this.status === "running" ? "done" : this.status);
    if (type === "message") return this.#take(JSON.parse(data));
    if (type === "goodbye") return this.#onGoodbye(JSON.parse(data).reason);
    if (type === "stopped") this.status = type;
    if (type === "failed") [this.status, this.error] = [type, JSON.parse(data)];
  };

  #onReady() {
    clearTimeout(this.#timer);
    if (this.#cursor === "") this.#clear(); // all of it comes: what a look at the server showed doesn't count
    this.#backoff.reset();
    this.#ownRetries = this.#server.usesTickets ? 0 : 1;
    this.#say("live");
  }

  /** @param {{choices?: Choice[]}} chunk */
  #take(chunk) {
    const choice = chunk.choices?.find?.(({ index }) => !index);
    const delta = choice?.delta ?? {};
    this.refusal += textIn(delta.refusal);
    this.reasoning += textIn(delta.reasoning_content ?? delta.reasoning);
    for (const call of delta.tool_calls ?? []) this.#addTool(call?.function?.name);
    this.finishReason = choice?.finish_reason || this.finishReason;
    const piece = textIn(delta.content);
    if (piece) this.#setText(this.text + piece, piece);
    this.#listeners.emit("chunk", chunk);
  }

  /** Some upstreams repeat the name with each part of a call. @param {string} [name] */
  #addTool(name) {
    if (name && this.tools.at(-1) !== name) this.tools.push(name);
  }

  #clear() {
    [this.refusal, this.reasoning, this.finishReason, this.tools] = ["", "", "", []];
    this.#setText("", "");
  }

  /** @param {string} reason */
  #onGoodbye(reason) {
    if (reason === "expired") this.#server.forgetToken();
    const stays = FINAL_REASONS.has(reason);
    if (!stays && !this.#server.usesTickets) return; // the stream ends now, and the browser comes back after the delay it was told
    this.#drop();
    this.#say(stays ? "stopped" : "connecting");
    if (!stays) this.#timer = setTimeout(() => this.#connect(), this.#backoff.next());
  }

  #onError = () => {
    if (this.#source?.readyState === EventSource.CLOSED || this.#ownRetries-- <= 0) return this.#fail();
    this.#say("connecting");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), READY_MS + BACKOFF_MOST_MS); // a goodbye may have named a long delay
  };

  /** Nothing gets through: find out why, which an EventSource doesn't tell, and come back later where that makes sense. */
  async #fail() {
    this.#drop();
    this.#say("waiting");
    const attempt = this.#attempt;
    const delay = this.#backoff.next();
    const { known, refusal } = await this.#ask();
    if (attempt !== this.#attempt) return;
    if (known?.ended) return this.#settle(known);
    if (refusal?.denied) return this.#say("denied");
    if (refusal?.status === 404 || refusal?.status === 410) return this.#lose(refusal);
    this.#timer = setTimeout(() => this.#connect(), Math.max(delay, refusal?.retryAfterMs ?? 0));
  }

  /** No `ready` in time: a proxy holds the stream back. Look at the answer now and then. */
  async #look() {
    this.#drop();
    const attempt = this.#attempt;
    const { known } = await this.#ask();
    if (attempt !== this.#attempt) return;
    if (known === null) return this.#fail();
    if (known.ended) return this.#settle(known);
    this.#show(known);
    this.#say("polling");
    this.#timer = setTimeout(() => this.#look(), SNAPSHOT_MS);
  }

  /** @returns {Promise<{known: RunAnswer | null, refusal: Refusal | null}>} both null: no server */
  #ask() {
    return this.#server.run(this.id).then(
      (known) => ({ known, refusal: null }),
      (error) => ({ known: null, refusal: error instanceof Refusal ? error : null }),
    );
  }

  /** Take the answer from the server's state, in the place of what the stream told. @param {RunAnswer} known */
  #show({ text = "", refusal = "", reasoning = "", finish_reason: reason, tool_calls: calls = [] }) {
    this.#cursor = "";
    [this.refusal, this.reasoning, this.finishReason] = [refusal, reasoning, reason ?? ""];
    this.tools = calls.map((call) => call.function.name);
    if (text !== this.text) this.#setText(text, "");
  }

  /** @param {RunAnswer} known */
  #settle(known) {
    this.#show(known);
    this.error = known.error ?? null;
    this.#end(known.status);
  }

  /** @param {Refusal} refusal */
  #lose({ code, message }) {
    this.error = { code, detail: message };
    this.#end("gone");
  }

  /** @param {BelfryRun["status"]} status */
  #end(status) {
    this.status = status;
    this.close();
    this.#listeners.emit("end");
  }

  /** @param {string} text @param {string} piece */
  #setText(text, piece) {
    this.text = text;
    this.#listeners.emit("text", text, piece);
  }

  /** An open connection would keep the page out of the back/forward cache. */
  #leave = () => {
    this.#drop();
    this.#say("idle");
  };

  #onPageShow = (/** @type {PageTransitionEvent} */ event) => {
    if (event.persisted) this.#connect();
  };

  #wake = () => {
    if (this.state === "waiting") this.#connect();
    else this.#checkSilence();
  };

  /** A connection can die without a word. A hidden page's timers hardly run, so its silence means nothing. */
  #checkSilence() {
    if (this.#source && !document.hidden && Date.now() - this.#heardAt > SILENCE_MS) this.#connect();
  }

  /** @param {State} state */
  #say(state) {
    if (state === this.state) return;
    this.state = state;
    this.#listeners.emit("state", state);
  }

  #drop() {
    this.#attempt++;
    clearTimeout(this.#timer);
    clearInterval(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }
}

/** 128 random bits in hexadecimal; `crypto.randomUUID` wants https. */
const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// The element

const PAGE_SIZE = 30;
const RELOAD_MS = 300;
const AGE_MS = 30_000; // how often relative times are written anew
const TOAST_MS = 6_000;
const TOASTS_MOST = 3;
const UNFOCUSED_MS = 150; // a visible tab lets the focused one go first
const UNSEEN_MS = 400; // a hidden tab lets the visible ones go first
const SHOWN_LOCK_MS = 10_000;
const BADGE_MOST = 99;
const NEAR_PX = 800; // rows so far out of sight are in the page: a flick of the wheel finds them there
const ROW_PX = 64; // a row's height until one was measured
const TABS = /** @type {const} */ (["all", "unread", "archived"]);
/** @typedef {typeof TABS[number]} Tab */

const TEXTS = {
  en: {
    title: "Notifications",
    bell: (/** @type {number} */ count) => (count ? `Notifications, ${count} unread` : "Notifications"),
    all: "All",
    unread: "Unread",
    archived: "Archived",
    readAll: "Mark all as read",
    settings: "Settings",
    close: "Close",
    sound: "Play a sound",
    desktop: "Notify on the desktop",
    desktopDenied: "The browser blocks desktop notifications for this site.",
    markRead: "Mark as read",
    markUnread: "Mark as unread",
    archive: "Archive",
    unarchive: "Move back",
    remove: "Remove",
    message: "Message",
    arrived: (/** @type {string} */ title) => `New message: ${title}`,
    info: "Information",
    success: "Success",
    warning: "Warning",
    error: "Error",
    loading: "Loading…",
    emptyAll: "Nothing here yet",
    emptyAllHint: "What is sent to you shows up at once.",
    emptyUnread: "All caught up",
    emptyUnreadHint: "You have read everything.",
    emptyArchived: "Nothing archived",
    emptyArchivedHint: "Archived messages are kept here.",
    failed: "The messages could not be loaded.",
    changeFailed: "That did not work. Try again.",
    retry: "Try again",
    waiting: "No connection. Trying again…",
    stopped: "Open in too many places. This one is paused.",
    resume: "Continue here",
    denied: "You are signed out.",
    now: "now",
  },
  zh: {
    title: "通知",
    bell: (/** @type {number} */ count) => (count ? `通知，${count} 条未读` : "通知"),
    all: "全部",
    unread: "未读",
    archived: "已归档",
    readAll: "全部标为已读",
    settings: "设置",
    close: "关闭",
    sound: "播放提示音",
    desktop: "桌面通知",
    desktopDenied: "浏览器阻止了本网站的桌面通知。",
    markRead: "标为已读",
    markUnread: "标为未读",
    archive: "归档",
    unarchive: "移回",
    remove: "删除",
    message: "消息",
    arrived: (/** @type {string} */ title) => `新消息：${title}`,
    info: "信息",
    success: "成功",
    warning: "警告",
    error: "错误",
    loading: "加载中…",
    emptyAll: "还没有消息",
    emptyAllHint: "发给您的消息会立即显示在这里。",
    emptyUnread: "没有未读消息",
    emptyUnreadHint: "您已读完所有消息。",
    emptyArchived: "没有归档消息",
    emptyArchivedHint: "归档的消息保存在这里。",
    failed: "无法加载消息。",
    changeFailed: "操作失败，请重试。",
    retry: "重试",
    waiting: "连接已断开，正在重试…",
    stopped: "打开的页面过多，此处已暂停。",
    resume: "在此继续",
    denied: "您已退出登录。",
    now: "刚刚",
  },
};
/** @typedef {typeof TEXTS.en} Texts */

/** Paths of a 24 × 24 grid, drawn as strokes. */
const ICONS = {
  bell: "M6 9a6 6 0 0 1 12 0c0 6 2.5 7.5 2.5 7.5h-17S6 15 6 9ZM10 20a2.2 2.2 0 0 0 4 0",
  info: "M12 11v6M12 7v.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  success: "m8 12.5 3 3 5.5-6.5M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  warning: "M12 9.5v4.5M12 17v.5M10.4 4.4 2.7 17.8A1.8 1.8 0 0 0 4.3 20.5h15.4a1.8 1.8 0 0 0 1.6-2.7L13.6 4.4a1.85 1.85 0 0 0-3.2 0Z",
  error: "m9 9 6 6m0-6-6 6M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  checks: "m2.5 12.5 4.5 4.5L16 7.5M12 16l1 1 9-9.5",
  dot: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8Z",
  archive: "M4 8v11h16V8M3 4h18v4H3zM10 12h4",
  unarchive: "M4 8v11h16V8M3 4h18v4H3zM12 17v-6m-2.5 2.5L12 11l2.5 2.5",
  remove: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  settings: "M4 7h9m4 0h3M4 17h3m4 0h9M13 7a2 2 0 1 0 4 0 2 2 0 1 0-4 0ZM7 17a2 2 0 1 0 4 0 2 2 0 1 0-4 0Z",
  close: "M6 6l12 12M18 6 6 18",
};
/** @typedef {keyof typeof ICONS} Icon */

/** @typedef {Partial<Record<string, string | boolean | ((event: any) => void)>>} Properties */

/**
 * An element. A property with a function is a listener, a true one an attribute without value, a false or undefined one
 * is left out; children that are null are left out too.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name @param {Properties} properties @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** @param {Icon} name */
function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** @param {Icon} name @param {string} label @param {(event: MouseEvent) => void} click */
function iconButton(name, label, click) {
  return element("button", { type: "button", class: "icon-button", "aria-label": label, title: label, click }, icon(name));
}

/**
 * The address if it is http(s) or a path, else null: `javascript:` and the like must not become links.
 * @param {string | undefined} text
 */
export function safeUrl(text) {
  try {
    const url = new URL(/** @type {string} */ (text), document.baseURI);
    return text && ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** A link that tells the other side nothing. @param {URL} url @param {string} text @param {string} [className] */
function link(url, text, className) {
  const away = url.origin !== location.origin;
  return element("a", { href: url.href, rel: "noopener noreferrer", target: away && "_blank", class: className }, text);
}

/** What a person reads first. @param {Message} message @param {Texts} texts */
const headline = (message, texts) => message.title ?? message.body ?? message.event ?? texts.message;

/** Times as people say them: "5 minutes ago", later a date. */
class Age {
  #relative;
  #date;
  #now;

  /** @param {string} lang @param {Texts} texts */
  constructor(lang, texts) {
    this.#relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
    this.#date = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });
    this.#now = texts.now;
  }

  /** @param {string} time RFC 3339 */
  element(time) {
    return this.refresh(element("time", { datetime: time, title: this.#date.format(new Date(time)) }));
  }

  /** @param {HTMLTimeElement} time */
  refresh(time) {
    time.textContent = this.#say(new Date(time.dateTime));
    return time;
  }

  /** @param {Date} time */
  #say(time) {
    const minutes = (Date.now() - time.getTime()) / 60_000;
    if (minutes < 1) return this.#now;
    if (minutes < 60) return this.#relative.format(-Math.floor(minutes), "minute");
    if (minutes < 24 * 60) return this.#relative.format(-Math.floor(minutes / 60), "hour");
    if (minutes < 7 * 24 * 60) return this.#relative.format(-Math.floor(minutes / 60 / 24), "day");
    return this.#date.format(time);
  }
}

/**
 * One tab's part of a user's feed, newest first.
 *
 * Changes by this user elsewhere arrive as events and are applied. Each raises the feed's revision by one, so a jump tells
 * that something was missed, and all is fetched again.
 */
class FeedModel {
  /** @type {Tab} */ tab = "all";
  /** @type {Message[]} */ messages = [];
  /** @type {"loading" | "loaded" | "failed"} */ state = "loading";
  #client;
  #changed;
  /** @type {string | null} */ #next = null;
  #revision = -1;
  #load = 0; // an answer to an older load is dropped
  /** @type {Block[]} */ #arrived = []; // messages that came while the newest were fetched
  #told = -1; // the latest revision told meanwhile
  #timer = 0;

  /** @param {BelfryClient} client @param {() => void} changed */
  constructor(client, changed) {
    this.#client = client;
    this.#changed = changed;
    client.on("*", (message, block) => block?.kept && this.#receive(message, block));
    client.on("ready", (ready) => this.#compare(ready));
    client.on("reset", () => this.#reloadSoon());
    client.on("read", (change) => this.#onChange(change));
    client.on("updated", (change) => this.#onChange(change));
    client.on("removed", (change) => this.#onChange({ ...change, removed: true }));
  }

  /** Fetch the newest, and connect. */
  async open() {
    const page = await this.reload();
    await this.#client.open(page?.cursor);
  }

  close() {
    clearTimeout(this.#timer);
    this.#load++;
    this.#client.close();
  }

  /** @param {Tab} tab */
  async show(tab) {
    this.tab = tab;
    this.messages = [];
    await this.reload();
  }

  /** Fetch the first page again. @returns {Promise<Page | null>} */
  async reload() {
    this.#next = null;
    this.state = "loading";
    this.#changed();
    this.#arrived = [];
    this.#told = -1;
    return this.#fetch({}, (page) => this.#begin(page));
  }

  /** What came after the page was read stands before it. @param {Page} page */
  #begin({ messages, cursor, revision = -1 }) {
    if (this.#told > revision) this.#reloadSoon();
    this.#revision = revision;
    const newer = this.#arrived.filter((block) => !reaches(cursor, block.end ?? block.cursor)).reverse();
    return [...newer.map(({ data }) => data), ...messages];
  }

  /** Whether there are no older messages than these. */
  get isWhole() {
    return this.#next === null && this.state === "loaded";
  }

  /** Fetch the next page, unless one is on its way. */
  async more() {
    if (this.state !== "loaded" || this.#next === null) return;
    this.state = "loading";
    this.#changed();
    await this.#fetch({ before: this.#next }, (page) => {
      const known = new Set(this.messages.map(({ id }) => id));
      return [...this.messages, ...page.messages.filter(({ id }) => !known.has(id))];
    });
  }

  /** What failed, once more. */
  async retry() {
    if (this.#next === null) return this.reload();
    this.state = "loaded";
    await this.more();
  }

  /** @param {Message} message @param {boolean} read */
  async mark(message, read) {
    if (Boolean(message.read) === read) return;
    await this.#want({ ids: [message.id], read }, () => this.#client.markRead([message.id], read));
  }

  async markAll() {
    await this.#want({ all: true, read: true }, () => this.#client.markAllRead());
  }

  /** @param {Message} message @param {boolean} archived */
  async archive(message, archived) {
    await this.#want({ ids: [message.id], archived }, () => this.#client.archive([message.id], archived));
  }

  /** @param {Message} message */
  async remove(message) {
    await this.#want({ ids: [message.id], removed: true }, () => this.#client.remove(message.id));
  }

  /** Show the change at once; what the server refuses is fetched as it is. @param {Change} change @param {() => Promise<void>} send */
  async #want(change, send) {
    this.#apply(change);
    try {
      await send();
    } catch (error) {
      this.#reloadSoon();
      throw error;
    }
  }

  /** @param {Record<string, string>} query @param {(page: Page) => Message[]} take makes the new list */
  async #fetch(query, take) {
    const load = ++this.#load;
    const filter = this.tab === "all" ? {} : { [this.tab]: "true" };
    const page = await this.#client.feed({ limit: PAGE_SIZE, ...filter, ...query }).catch((error) => this.#onRefused(error));
    if (load !== this.#load) return page;
    this.state = page ? "loaded" : "failed";
    if (page) {
      this.messages = take(page);
      this.#next = page.next;
    }
    this.#changed();
    return page;
  }

  /** @param {unknown} error @returns {null} no page */
  #onRefused(error) {
    if (error instanceof Refusal && error.code === "history_lost") this.#reloadSoon(); // what is older can't be reached from here
    return null;
  }

  #reloadSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reload(), RELOAD_MS);
  }

  /** @param {Message} message @param {Block} block */
  #receive(message, block) {
    if (this.state === "loading" && this.tab !== "archived") this.#arrived.push(block);
    this.#drop((other) => other.id === message.id || (message.key !== undefined && other.key === message.key));
    if (this.tab !== "archived") this.messages.unshift(message);
    this.#changed();
  }

  /** @param {Change} change */
  #onChange(change) {
    this.#follow(change);
    this.#apply(change);
  }

  /** A connection begins: whatever was changed before nobody told. @param {{revision?: number}} ready */
  #compare({ revision = -1 }) {
    this.#told = Math.max(this.#told, revision);
    if (this.#revision >= 0 && revision > this.#revision) this.#reloadSoon();
    this.#revision = Math.max(this.#revision, revision);
  }

  /** @param {{revision?: number}} told */
  #follow({ revision }) {
    this.#told = Math.max(this.#told, revision ?? -1);
    if (revision === undefined || revision <= this.#revision) return;
    if (this.#revision >= 0 && revision > this.#revision + 1) this.#reloadSoon();
    this.#revision = revision;
  }

  /**
   * A change to `ids`, or to all.
   * @typedef {{ids?: string[], all?: boolean, read?: boolean, archived?: boolean, removed?: boolean, revision?: number}} Change
   * @param {Change} change
   */
  #apply({ ids = [], all = false, read, archived, removed }) {
    const meant = (/** @type {Message} */ { id }) => all || ids.includes(id);
    if (read !== undefined) this.messages = this.messages.map((message) => (meant(message) ? { ...message, read } : message));
    if (removed) this.#drop(meant);
    if (archived === (this.tab === "archived")) this.#reloadSoon(); // they come from another tab
    else if (archived !== undefined) this.#drop(meant);
    this.#changed();
  }

  /** @param {(message: Message) => boolean} isGone */
  #drop(isGone) {
    this.messages = this.messages.filter((message) => !isGone(message));
  }
}

const STYLES = `
:host {
  --_accent: var(--belfry-accent, light-dark(#8a5a00, #f6c453));
  --_accent-ink: var(--belfry-accent-ink, light-dark(#fff, #2a1f00));
  --_badge: var(--belfry-badge, light-dark(#b3261e, #ff8f86));
  --_badge-ink: var(--belfry-badge-ink, light-dark(#fff, #3b0907));
  --_paper: var(--belfry-paper, light-dark(#fff, #1f2226));
  --_hover: var(--belfry-hover, light-dark(#f6f5f2, #282c31));
  --_unread: var(--belfry-unread, light-dark(#fdf7ea, #2a2720));
  --_ink: var(--belfry-ink, light-dark(#1f2328, #e8e6e3));
  --_faint: var(--belfry-faint, light-dark(#5d646d, #a2a8b0));
  --_line: var(--belfry-line, light-dark(#e0ddd6, #3a3f46));
  --_radius: var(--belfry-radius, 12px);
  --_info: light-dark(#0b62b0, #7cb8f5);
  --_success: light-dark(#1a7240, #6fce93);
  --_warning: light-dark(#8f5b00, #f0b95a);
  --_error: light-dark(#b3261e, #ff8f86);
  display: inline-block;
  color: var(--_ink);
  font: var(--belfry-font, 400 0.9375rem/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans SC", sans-serif);
  text-align: start;
}
:host([inline]), :host(belfry-message) { display: block; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
svg { display: block; width: 1.25rem; height: 1.25rem; fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linecap: round; stroke-linejoin: round; }
button { margin: 0; padding: 0; border: 0; background: none; color: inherit; font: inherit; cursor: pointer; }
:focus-visible { outline: 2px solid var(--_accent); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

.bell { position: relative; display: grid; place-items: center; width: 2.75rem; height: 2.75rem; border-radius: 50%; color: inherit; }
.bell svg { width: 1.5rem; height: 1.5rem; }
.bell:hover, .bell[aria-expanded="true"] { background: var(--_hover); }
.badge { position: absolute; inset-block-start: 0.1rem; inset-inline-end: 0; min-width: 1.25rem; padding: 0 0.3rem; border-radius: 1rem; background: var(--_badge); color: var(--_badge-ink); font-size: 0.72rem; font-weight: 700; line-height: 1.25rem; text-align: center; }

.panel { inset: auto; flex-direction: column; width: 100%; margin: 0; padding: 0; overflow: hidden; border: 1px solid var(--_line); border-radius: var(--_radius); background: var(--_paper); color: var(--_ink); }
.panel:popover-open, :host([inline]) .panel { display: flex; }
.panel[popover] { width: min(26.5rem, 100vw); height: min(40rem, 100dvh - var(--_top) - 1rem); inset-block-start: var(--_top); left: var(--_left); box-shadow: 0 12px 40px rgb(0 0 0 / 0.22); }
.head { display: flex; align-items: center; gap: 0.25rem; padding: 0.6rem 0.6rem 0.25rem 1rem; padding-inline: 1rem 0.6rem; }
h2 { flex: 1; margin: 0; font-size: 1.1rem; font-weight: 650; }
.icon-button { display: grid; flex: none; place-items: center; width: 2.25rem; height: 2.25rem; border-radius: 8px; color: var(--_faint); }
.icon-button:hover { background: var(--_hover); color: var(--_ink); }
.tabs { display: flex; gap: 0.25rem; padding: 0 0.75rem; border-block-end: 1px solid var(--_line); }
[role="tab"] { padding: 0.5rem 0.6rem; border-block-end: 2px solid transparent; color: var(--_faint); font-weight: 550; }
[role="tab"]:hover { color: var(--_ink); }
[role="tab"][aria-selected="true"] { border-color: var(--_accent); color: var(--_ink); }
[role="tab"] span { margin-inline-start: 0.35rem; padding: 0 0.4rem; border-radius: 1rem; background: var(--_hover); color: var(--_faint); font-size: 0.8rem; }
.settings { padding: 0.6rem 1rem; border-block-end: 1px solid var(--_line); background: var(--_hover); }
.settings label { display: flex; align-items: center; gap: 0.5rem; min-height: 2rem; cursor: pointer; }
.settings input { width: 1.1rem; height: 1.1rem; margin: 0; accent-color: var(--_accent); }
.settings p { margin: 0.25rem 0 0; color: var(--_faint); font-size: 0.85rem; }
.notice { display: flex; align-items: center; gap: 0.75rem; padding: 0.5rem 1rem; background: var(--_hover); color: var(--_faint); font-size: 0.875rem; }
.notice::before { flex: none; width: 0.55rem; height: 0.55rem; border-radius: 50%; background: var(--_warning); content: ""; }
.notice[data-state="stopped"]::before, .notice[data-state="denied"]::before { background: var(--_error); }
.text-button { padding: 0.2rem 0.5rem; border-radius: 6px; color: var(--_accent); font-weight: 600; }
.text-button:hover { text-decoration: underline; }

.list { position: relative; flex: 1; overflow-y: auto; overscroll-behavior: contain; }
:host([inline]) .panel { overflow: clip; }
:host([inline]) .list { min-height: 16rem; overflow: visible; }
.message { position: relative; display: grid; grid-template-columns: auto 1fr; gap: 0 0.75rem; padding: 0.8rem 1rem; border-block-end: 1px solid var(--_line); }
.gap { overflow-anchor: none; }
.message:hover { background: var(--_hover); }
.message:focus-visible { outline-offset: -2px; }
.message.unread { background: var(--_unread); }
[data-level="info"] { --_tone: var(--_info); }
[data-level="success"] { --_tone: var(--_success); }
[data-level="warning"] { --_tone: var(--_warning); }
[data-level="error"] { --_tone: var(--_error); }
.sign { display: grid; place-items: center; width: 2.1rem; height: 2.1rem; border-radius: 50%; background: color-mix(in srgb, var(--_tone, var(--_faint)) 14%, transparent); color: var(--_tone, var(--_faint)); }
.content { min-width: 0; }
.line { display: flex; align-items: baseline; gap: 0.75rem; }
h3 { flex: 1; min-width: 0; margin: 0; overflow-wrap: anywhere; font-size: 0.9375rem; font-weight: 500; }
.unread h3 { font-weight: 650; }
h3 a { color: inherit; text-decoration: none; }
h3 a::after { position: absolute; inset: 0; content: ""; }
h3 a:hover { text-decoration: underline; }
time { flex: none; color: var(--_faint); font-size: 0.8rem; white-space: nowrap; }
.unread time::after { display: inline-block; width: 0.5rem; height: 0.5rem; margin-inline-start: 0.4rem; border-radius: 50%; background: var(--_accent); content: ""; }
.body { display: -webkit-box; margin: 0.15rem 0 0; overflow: hidden; overflow-wrap: anywhere; color: var(--_faint); white-space: pre-line; -webkit-box-orient: vertical; -webkit-line-clamp: 4; }
.message:focus-within .body, .message:focus .body { -webkit-line-clamp: none; }
.tags { display: flex; flex-wrap: wrap; gap: 0.3rem; margin: 0.45rem 0 0; padding: 0; list-style: none; }
.tags li { padding: 0 0.5rem; overflow-wrap: anywhere; border: 1px solid var(--_line); border-radius: 1rem; color: var(--_faint); font-size: 0.78rem; }
.actions { position: relative; z-index: 1; display: flex; flex-wrap: wrap; gap: 0.4rem; margin-block-start: 0.6rem; }
.action { padding: 0.3rem 0.8rem; border: 1px solid var(--_line); border-radius: 8px; background: var(--_paper); color: var(--_ink); font-size: 0.875rem; font-weight: 550; text-decoration: none; }
.action:first-child { border-color: transparent; background: var(--_accent); color: var(--_accent-ink); }
.action:hover { filter: brightness(1.06); }
.tools { position: absolute; z-index: 2; inset-block-start: 0.4rem; inset-inline-end: 0.6rem; display: flex; border: 1px solid var(--_line); border-radius: 10px; background: var(--_paper); opacity: 0; }
.message:hover .tools, .message:focus .tools, .message:focus-within .tools { opacity: 1; }
.tools svg { width: 1.1rem; height: 1.1rem; }
.blank { display: grid; justify-items: center; gap: 0.35rem; padding: 3.5rem 1.5rem; color: var(--_faint); text-align: center; }
.blank svg { width: 2.5rem; height: 2.5rem; margin-block-end: 0.4rem; opacity: 0.6; }
.blank strong { color: var(--_ink); font-weight: 600; }
.end { min-height: 1px; padding: 0.75rem; color: var(--_faint); font-size: 0.875rem; text-align: center; }
.end:empty { padding: 0; }

.toasts { inset: auto 1rem 1rem auto; display: flex; flex-direction: column; gap: 0.6rem; width: min(22rem, 100vw - 2rem); margin: 0; padding: 0; overflow: visible; border: 0; background: none; color: var(--_ink); }
.toasts:dir(rtl) { inset: auto auto 1rem 1rem; }
.toasts:not(:popover-open) { display: none; }
.toast { position: relative; display: grid; grid-template-columns: auto 1fr auto; gap: 0 0.75rem; padding: 0.8rem 0.6rem 0.8rem 0.9rem; border: 1px solid var(--_line); border-inline-start: 4px solid var(--_tone, var(--_accent)); border-radius: var(--_radius); background: var(--_paper); box-shadow: 0 8px 28px rgb(0 0 0 / 0.2); }
.toast h3 { font-weight: 650; }
.toast .icon-button { position: relative; z-index: 1; }

@media (max-width: 30rem) {
  .panel[popover] { inset: 0; width: 100vw; height: 100dvh; border: 0; border-radius: 0; }
}
@media (hover: none) {
  .tools { position: static; grid-column: 2; justify-self: end; margin-block-start: 0.5rem; border: 0; background: none; opacity: 1; }
}
@media (prefers-reduced-motion: no-preference) {
  .message.new { animation: arrive 0.4s ease-out; }
  .toast { animation: arrive 0.25s ease-out; }
  @keyframes arrive { from { opacity: 0; transform: translateY(-0.5rem); } }
}
@media (forced-colors: active) {
  .badge, .unread time::after { forced-color-adjust: none; }
}
`;

/** What a user wishes, kept by the browser for all tabs of a site. */
class Wishes {
  /** @param {"sound" | "desktop"} name */
  static has(name) {
    try {
      return localStorage.getItem(`belfry.${name}`) === "yes";
    } catch {
      return false; // storage is blocked
    }
  }

  /** @param {"sound" | "desktop"} name @param {boolean} wanted */
  static set(name, wanted) {
    try {
      localStorage.setItem(`belfry.${name}`, wanted ? "yes" : "no");
    } catch {
      // the wish lasts no longer than the page
    }
  }
}

/** Two notes of a bell, made on the spot. */
function chime() {
  const audio = new AudioContext();
  const notes = [880, 1_318.5];
  notes.forEach((frequency, at) => {
    const start = audio.currentTime + at * 0.12;
    const note = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.15, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
    note.connect(volume).connect(audio.destination);
    note.start(start);
    note.stop(start + 0.5);
  });
  setTimeout(() => audio.close(), 1_000);
}

/**
 * Run `show` in one tab only: the focused one, else one that can be seen, else any. Without Web Locks, in those that can
 * be seen.
 * @param {string} id @param {() => void} show
 */
async function inOneTab(id, show) {
  if (!TabGroup.isPossible) return document.hidden || show();
  if (!document.hasFocus()) await sleep(document.hidden ? UNSEEN_MS : UNFOCUSED_MS);
  navigator.locks.request(`belfry shown ${id}`, { ifAvailable: true }, async (lock) => {
    if (lock === null) return;
    show();
    await sleep(SHOWN_LOCK_MS); // until the slowest tab has looked
  });
}

/**
 * What a view asks of its feed.
 * @typedef {object} Wanted
 * @property {(message: Message, read: boolean) => void} mark
 * @property {(message: Message, archived: boolean) => void} archive
 * @property {(message: Message) => void} remove
 * @property {(name: string, detail: object) => boolean} announce tells the host page; false: it sees to the rest itself
 */

/** One message as an article. */
class MessageView {
  /** @param {Message} message @param {Texts} texts @param {Age} age @param {Wanted} feed */
  constructor(message, texts, age, feed) {
    this.message = message;
    this.texts = texts;
    this.feed = feed;
    this.shown = MessageView.#look(message);
    this.article = element(
      "article",
      {
        class: message.read ? "message" : "message unread",
        tabindex: "0",
        "data-id": message.id,
        "data-level": message.level,
        "aria-label": [message.read ? "" : texts.unread, message.level ? texts[message.level] : "", headline(message, texts)].filter(Boolean).join(". "),
        click: (event) => this.#onClick(event),
        keydown: (event) => this.#onKey(event),
      },
      element("span", { class: "sign" }, icon(message.level ?? "bell")),
      element(
        "div",
        { class: "content" },
        element("div", { class: "line" }, this.#title(), age.element(message.time)),
        message.title && message.body ? element("p", { class: "body" }, message.body) : null,
        this.#tags(),
        this.#actions(),
      ),
      this.#tools(),
    );
  }

  /** Whether it still shows what `message` is. @param {Message} message */
  shows(message) {
    return this.shown === MessageView.#look(message);
  }

  /** @param {Message} message */
  static #look({ id, read, archived }) {
    return [id, Boolean(read), Boolean(archived)].join(" ");
  }

  #title() {
    const url = safeUrl(this.message.url);
    const text = headline(this.message, this.texts);
    return element("h3", {}, url ? link(url, text) : text);
  }

  #tags() {
    const tags = [...(this.message.topic ? [this.message.topic] : []), ...(this.message.tags ?? [])];
    return tags.length ? element("ul", { class: "tags" }, ...tags.map((tag) => element("li", {}, tag))) : null;
  }

  #actions() {
    const actions = (this.message.actions ?? []).map((action) => this.#action(action));
    return actions.length ? element("div", { class: "actions" }, ...actions) : null;
  }

  /** @param {Action} action */
  #action(action) {
    const url = safeUrl(action.url);
    const made = url ? link(url, action.label, "action") : element("button", { type: "button", class: "action" }, action.label);
    made.addEventListener("click", (event) => {
      if (!this.feed.announce("action", { message: this.message, action })) event.preventDefault();
    });
    return made;
  }

  #tools() {
    const { message, texts, feed } = this;
    const { read = false, archived = false } = message;
    return element(
      "div",
      { class: "tools" },
      iconButton(read ? "dot" : "check", read ? texts.markUnread : texts.markRead, () => feed.mark(message, !read)),
      iconButton(archived ? "unarchive" : "archive", archived ? texts.unarchive : texts.archive, () => feed.archive(message, !archived)),
      iconButton("remove", texts.remove, () => feed.remove(message)),
    );
  }

  /** A click on the message reads it; its own buttons do what they say. @param {MouseEvent} event */
  #onClick(event) {
    const target = /** @type {Element} */ (event.target);
    if (target.closest(".tools")) return;
    if (!target.closest(".action") && !this.feed.announce("open", { message: this.message })) event.preventDefault();
    this.feed.mark(this.message, true);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.target !== this.article) return;
    const { message, feed } = this;
    const actions = /** @type {Record<string, () => void>} */ ({
      Enter: () => (this.article.querySelector("a") ?? this.article).click(),
      Delete: () => feed.remove(message),
      e: () => feed.archive(message, !message.archived),
      u: () => feed.mark(message, !message.read),
    });
    if (!Object.hasOwn(actions, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
  }
}

/** How tall rows are: as measured where one was shown, else the mean of those. */
class Heights {
  /** @type {Map<string, number>} */ #byId = new Map();
  #sum = 0;

  /** @param {string} id @param {number} px @returns {boolean} whether that is news */
  set(id, px) {
    const known = this.#byId.get(id);
    if (known === px) return false;
    this.#sum += px - (known ?? 0);
    this.#byId.set(id, px);
    return true;
  }

  /** @param {string} id */
  get(id) {
    return this.#byId.get(id) ?? this.#mean;
  }

  /** @param {string} id */
  forget(id) {
    this.#sum -= this.#byId.get(id) ?? 0;
    this.#byId.delete(id);
  }

  get #mean() {
    return this.#byId.size ? this.#sum / this.#byId.size : ROW_PX;
  }
}

/**
 * The messages as a list of articles. Of a long list only the rows near what is in sight are in the page, and the one that
 * has the focus; gaps keep the room of the others. Each row tells its number in the whole list.
 *
 * A gap whose size was guessed wrong moves nothing that is read: it is neither an anchor nor around one, so the browser's
 * scroll anchoring makes up for it.
 */
class ListView {
  /** @type {Message[]} */ #messages = [];
  /** Of the rows in the page. @type {Map<string, MessageView>} */ #views = new Map();
  #heights = new Heights();
  #isWhole = true;
  #above = element("div", { class: "gap" });
  #between = element("div", { class: "gap" }); // the focused row and the others
  #below = element("div", { class: "gap" });
  #measured = new ResizeObserver((sizes) => this.#onMeasured(sizes));
  #isDue = false;
  #feed;
  #texts;
  #age;
  #leave;
  #more;

  /**
   * @param {Wanted} feed @param {string} lang @param {Texts} texts
   * @param {() => void} leave focuses what is before the list @param {() => void} more is called near the end
   */
  constructor(feed, lang, texts, leave, more) {
    this.#feed = feed;
    this.#texts = texts;
    this.#leave = leave;
    this.#more = more;
    this.#age = new Age(lang, texts);
    this.root = element("div", { role: "feed", "aria-label": texts.title, keydown: (event) => this.#onKey(event) }, this.#above, this.#below);
    document.addEventListener("scroll", this.look, { capture: true, passive: true });
    addEventListener("resize", this.look);
  }

  close() {
    document.removeEventListener("scroll", this.look, { capture: true });
    removeEventListener("resize", this.look);
    this.#measured.disconnect();
  }

  /** @param {Message[]} messages @param {boolean} isWhole whether no older ones are left @param {Set<string>} fresh ids of those that just came */
  render(messages, isWhole, fresh) {
    const focused = this.#focusedIndex();
    const focusedId = this.#messages[focused]?.id;
    const ids = new Set(messages.map(({ id }) => id));
    for (const { id } of this.#messages) if (!ids.has(id)) this.#heights.forget(id);
    this.#messages = messages;
    this.#isWhole = isWhole;
    this.#arrange(messages.findIndex(({ id }) => id === focusedId), fresh);
    if (focused < 0 || this.#focusedIndex() >= 0) return;
    const at = messages.findIndex(({ id }) => id === focusedId); // it was made anew, or it is gone
    this.#focus(at >= 0 ? at : Math.min(focused, messages.length - 1));
  }

  /** Something was scrolled, or has another size. */
  look = () => this.#arrange(this.#focusedIndex());

  /** Write the times anew. */
  age() {
    for (const { article } of this.#views.values()) this.#age.refresh(/** @type {HTMLTimeElement} */ (article.querySelector("time")));
  }

  /** Have the rows in the page that belong there, and number `held`. @param {number} held @param {Set<string>} [fresh] */
  #arrange(held, fresh = new Set()) {
    const { first, last } = this.#near();
    const rows = this.#messages.slice(first, last + 1).map((_, at) => first + at);
    if (held >= 0 && held < first) rows.unshift(held);
    if (held > last) rows.push(held);
    const kept = new Set(rows.map((at) => this.#messages[at].id));
    for (const [id, view] of this.#views) if (!kept.has(id)) this.#drop(id, view);
    const articles = rows.map((at) => this.#row(at, fresh));
    if (held >= 0 && held < first) articles.splice(1, 0, this.#between);
    else if (held > last) articles.splice(-1, 0, this.#between);
    else this.#between.remove();
    this.#put([this.#above, ...articles, this.#below]);
    this.#sizeGaps(rows);
    if (last === this.#messages.length - 1) this.#more();
  }

  /** The rows near what is in sight: indexes, the last one included. */
  #near() {
    const list = this.root.parentElement?.getBoundingClientRect();
    const from = this.root.getBoundingClientRect().top;
    const top = Math.max(0, list?.top ?? 0) - from - NEAR_PX;
    const bottom = Math.min(innerHeight, list?.bottom ?? 0) - from + NEAR_PX;
    let first = 0;
    let y = 0;
    const height = (/** @type {number} */ at) => this.#heights.get(this.#messages[at].id);
    for (; first < this.#messages.length - 1 && y + height(first) < top; first++) y += height(first);
    let last = first - 1;
    for (; last < this.#messages.length - 1 && y < bottom; y += height(last)) last++;
    return { first, last };
  }

  /** The article of row `at`, as its message is now. @param {number} at @param {Set<string>} fresh */
  #row(at, fresh) {
    const message = this.#messages[at];
    let view = this.#views.get(message.id);
    if (!view?.shows(message)) view = this.#make(message, view, fresh);
    view.article.setAttribute("aria-posinset", String(at + 1));
    view.article.setAttribute("aria-setsize", String(this.#isWhole ? this.#messages.length : -1));
    return view.article;
  }

  /** @param {Message} message @param {MessageView | undefined} former @param {Set<string>} fresh */
  #make(message, former, fresh) {
    const view = new MessageView(message, this.#texts, this.#age, this.#feed);
    if (fresh.has(message.id)) view.article.classList.add("new");
    if (former) {
      this.#measured.unobserve(former.article);
      former.article.replaceWith(view.article);
    }
    this.#views.set(message.id, view);
    this.#measured.observe(view.article);
    return view;
  }

  /** @param {string} id @param {MessageView} view */
  #drop(id, view) {
    this.#measured.unobserve(view.article);
    view.article.remove();
    this.#views.delete(id);
  }

  /** Put what is missing in its place, and move nothing that has one: that would take its focus. @param {HTMLElement[]} wanted */
  #put(wanted) {
    wanted.forEach((node, at) => {
      const there = this.root.children[at];
      if (there !== node) this.root.insertBefore(node, there ?? null);
    });
  }

  /** @param {number[]} rows that are in the page */
  #sizeGaps(rows) {
    const sizes = new Map([this.#above, this.#between, this.#below].map((gap) => [gap, 0]));
    const shown = new Set(rows);
    let gap = this.#above;
    this.#messages.forEach(({ id }, at) => {
      if (shown.has(at)) gap = at === rows.at(-1) ? this.#below : this.#between;
      else sizes.set(gap, (sizes.get(gap) ?? 0) + this.#heights.get(id));
    });
    for (const [gap, px] of sizes) gap.style.height = `${px}px`;
  }

  /** @param {ResizeObserverEntry[]} sizes */
  #onMeasured(sizes) {
    for (const { target, borderBoxSize } of sizes) {
      const px = borderBoxSize[0].blockSize;
      const { id = "" } = /** @type {HTMLElement} */ (target).dataset;
      if (px > 0 && this.#heights.set(id, px)) this.#arrangeSoon(); // 0: the panel is closed
    }
  }

  /** In the next frame: rows that are put in by an observer of rows would be a loop. */
  #arrangeSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.look();
    });
  }

  #focusedIndex() {
    const root = this.root.getRootNode();
    const focused = root instanceof ShadowRoot ? root.activeElement?.closest("article") : null;
    return focused ? this.#messages.findIndex(({ id }) => id === focused.dataset.id) : -1;
  }

  /** @param {number} at */
  #focus(at) {
    if (at < 0) return this.#leave();
    this.#arrange(at);
    const article = this.#views.get(this.#messages[at].id)?.article;
    article?.focus();
    article?.scrollIntoView({ block: "nearest" }); // again: a row above, whose text was shown in full, has become smaller
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const at = this.#focusedIndex();
    const last = this.#messages.length - 1;
    const to = { ArrowDown: at + 1, PageDown: at + 1, ArrowUp: at - 1, PageUp: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.#focus(Math.max(0, Math.min(last, to)));
  }
}

/** What arrives while nobody looks at the feed, for a few seconds in a corner. */
class Toasts {
  #texts;
  #open;

  /** @param {Texts} texts @param {(message: Message) => void} open */
  constructor(texts, open) {
    this.#texts = texts;
    this.#open = open;
    this.root = element("div", { class: "toasts", popover: "manual", role: "region", "aria-label": texts.title });
  }

  /** @param {Message} message */
  show(message) {
    const toast = this.#toast(message);
    const root = this.root;
    root.append(toast);
    while (root.children.length > TOASTS_MOST) root.firstChild?.remove();
    root.hidePopover(); // again on top of what was opened since
    root.showPopover();
    const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, TOAST_MS) : this.#dismiss(toast));
    setTimeout(leave, message.level === "error" ? 2 * TOAST_MS : TOAST_MS);
  }

  /** Take away those of the messages `ids`, by default all: they were seen elsewhere, or are gone. @param {string[]} [ids] */
  clear(ids) {
    for (const toast of [...this.root.children]) {
      if (toast instanceof HTMLElement && (!ids || ids.includes(toast.dataset.id ?? ""))) this.#dismiss(toast);
    }
  }

  /** @param {Message} message */
  #toast(message) {
    const url = safeUrl(message.url);
    const title = headline(message, this.#texts);
    /** @type {HTMLElement} */
    const toast = element(
      "div",
      { class: "toast", "data-level": message.level, "data-id": message.id },
      element("span", { class: "sign" }, icon(message.level ?? "bell")),
      element(
        "div",
        { class: "content" },
        element("h3", {}, url ? link(url, title) : title),
        message.title && message.body ? element("p", { class: "body" }, message.body) : null,
      ),
      iconButton("close", this.#texts.close, (event) => {
        event.stopPropagation();
        this.#dismiss(toast);
      }),
    );
    toast.addEventListener("click", () => {
      this.#open(message);
      this.#dismiss(toast);
    });
    return toast;
  }

  /** @param {HTMLElement} toast */
  #dismiss(toast) {
    toast.remove();
    if (this.root.children.length === 0 && this.root.isConnected) this.root.hidePopover();
  }
}

/** The bell and its badge. */
class Bell {
  #texts;
  #badge = element("span", { class: "badge", "aria-hidden": "true" });

  /** @param {Texts} texts @param {() => void} click */
  constructor(texts, click) {
    this.#texts = texts;
    this.root = element("button", { type: "button", class: "bell", "aria-haspopup": "dialog", "aria-expanded": "false", click }, icon("bell"), this.#badge);
  }

  /** @param {number} unread @param {boolean} open */
  render(unread, open) {
    this.#badge.textContent = unread > BADGE_MOST ? `${BADGE_MOST}+` : String(unread);
    this.#badge.hidden = unread <= 0;
    this.root.setAttribute("aria-label", this.#texts.bell(unread));
    this.root.setAttribute("aria-expanded", String(open));
  }
}

/** The tabs above the list, by the ARIA pattern: arrows move, and what has the focus is shown. */
class TabsView {
  #buttons;
  #count = element("span", { "aria-hidden": "true" });

  /** @param {Texts} texts @param {(tab: Tab) => void} show */
  constructor(texts, show) {
    this.#buttons = TABS.map((tab) =>
      element("button", { type: "button", role: "tab", "data-tab": tab, "aria-controls": "list", click: () => show(tab) }, texts[tab], tab === "unread" ? this.#count : null),
    );
    this.root = element("div", { class: "tabs", role: "tablist", "aria-label": texts.title, keydown: (event) => this.#onKey(event) }, ...this.#buttons);
  }

  /** @param {Tab} chosen @param {number} unread */
  render(chosen, unread) {
    for (const button of this.#buttons) {
      const selected = button.dataset.tab === chosen;
      button.setAttribute("aria-selected", String(selected));
      button.tabIndex = selected ? 0 : -1;
    }
    this.#count.textContent = String(unread);
    this.#count.hidden = unread <= 0;
  }

  focus() {
    this.#buttons.find((button) => button.tabIndex === 0)?.focus();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const forward = this.root.matches(":dir(rtl)") ? -1 : 1;
    const at = this.#buttons.findIndex((button) => button.tabIndex === 0);
    const to = { ArrowRight: at + forward, ArrowLeft: at - forward, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const button = this.#buttons.at(to % this.#buttons.length);
    button?.click();
    button?.focus();
  }
}

/** What the user may wish: a sound, and the desktop's own notifications, for which the browser asks. */
class SettingsView {
  #texts;
  #blocked = element("p", { role: "status" });

  /** @param {Texts} texts */
  constructor(texts) {
    this.#texts = texts;
    this.root = element("div", { class: "settings", hidden: true }, this.#toggle("sound", texts.sound), this.#toggle("desktop", texts.desktop), this.#blocked);
  }

  /** @param {"sound" | "desktop"} name @param {string} label */
  #toggle(name, label) {
    const box = element("input", { type: "checkbox", name, change: () => this.#wish(name, box) });
    box.checked = Wishes.has(name);
    return element("label", {}, box, label);
  }

  /** @param {"sound" | "desktop"} name @param {HTMLInputElement} box */
  async #wish(name, box) {
    if (box.checked && name === "sound") chime();
    if (box.checked && name === "desktop") box.checked = (await Notification.requestPermission()) === "granted";
    this.#blocked.textContent = name === "desktop" && Notification.permission === "denied" ? this.#texts.desktopDenied : "";
    Wishes.set(name, box.checked);
  }
}

/** The feed: head, tabs, list, and what to say when there is no list. */
class FeedPanel {
  #texts;
  #model;
  #client;
  #tabs;
  #settings;
  #list;
  #readAll;
  #notice = element("div", { class: "notice", role: "status", hidden: true });
  #blank = element("div", { class: "blank", hidden: true });
  #end = element("div", { class: "end" });
  #alert = element("p", { class: "unseen", role: "alert" });

  /**
   * @param {FeedModel} model @param {BelfryClient} client @param {Wanted} wanted @param {string} lang @param {Texts} texts
   * @param {(() => void) | null} close null where the feed is part of the page
   */
  constructor(model, client, wanted, lang, texts, close) {
    this.#texts = texts;
    this.#model = model;
    this.#client = client;
    this.#tabs = new TabsView(texts, (tab) => model.show(tab));
    this.#settings = new SettingsView(texts);
    this.#list = new ListView(wanted, lang, texts, () => this.#tabs.focus(), () => this.#isSeen && model.more());
    this.#readAll = iconButton("checks", texts.readAll, () => model.markAll().catch(() => this.failed()));
    this.root = element(
      "section",
      { class: "panel", role: close ? "dialog" : "region", "aria-labelledby": "title", popover: close ? "manual" : undefined },
      this.#head(close),
      this.#tabs.root,
      this.#settings.root,
      this.#notice,
      element("div", { class: "list", id: "list", role: "tabpanel", "aria-label": texts.title, tabindex: "-1", scroll: this.#list.look }, this.#list.root, this.#blank, this.#end),
      this.#alert,
    );
  }

  /** @param {Set<string>} fresh ids of messages that just came */
  render(fresh) {
    const { messages, tab } = this.#model;
    const { unread } = this.#client;
    this.#tabs.render(tab, unread);
    this.#list.root.hidden = messages.length === 0;
    this.#list.render(messages, this.#model.isWhole, fresh);
    this.#readAll.hidden = unread === 0;
    this.#renderBlank();
    this.#renderNotice();
    this.#renderEnd();
  }

  get #isSeen() {
    return this.root.getClientRects().length > 0;
  }

  age() {
    this.#list.age();
  }

  focus() {
    this.#tabs.focus();
  }

  /** Something that the user wanted did not happen. */
  failed() {
    this.#alert.textContent = this.#texts.changeFailed;
  }

  close() {
    this.#list.close();
  }

  /** @param {(() => void) | null} close */
  #head(close) {
    const settings = iconButton("settings", this.#texts.settings, () => {
      this.#settings.root.hidden = !this.#settings.root.hidden;
      settings.setAttribute("aria-expanded", String(!this.#settings.root.hidden));
    });
    settings.setAttribute("aria-expanded", "false");
    const title = element("h2", { id: "title" }, this.#texts.title);
    return element("div", { class: "head" }, title, this.#readAll, settings, close ? iconButton("close", this.#texts.close, close) : null);
  }

  #renderBlank() {
    const { messages, state, tab } = this.#model;
    this.#blank.hidden = messages.length > 0;
    const texts = this.#texts;
    if (state === "loading") return this.#blank.replaceChildren(texts.loading);
    if (state === "failed") return this.#blank.replaceChildren(icon("error"), texts.failed, this.#button(texts.retry, () => this.#model.reload()));
    const [title, hint] = {
      all: [texts.emptyAll, texts.emptyAllHint],
      unread: [texts.emptyUnread, texts.emptyUnreadHint],
      archived: [texts.emptyArchived, texts.emptyArchivedHint],
    }[tab];
    this.#blank.replaceChildren(icon(tab === "unread" ? "success" : tab === "archived" ? "archive" : "bell"), element("strong", {}, title), hint);
  }

  /** Below what is there: more is on its way, or did not come. */
  #renderEnd() {
    const { messages, state } = this.#model;
    if (messages.length === 0 || state === "loaded") return this.#end.replaceChildren();
    if (state === "loading") return this.#end.replaceChildren(this.#texts.loading);
    this.#end.replaceChildren(this.#texts.failed, this.#button(this.#texts.retry, () => this.#model.retry()));
  }

  #renderNotice() {
    const { state } = this.#client;
    const said = state === "waiting" || state === "stopped" || state === "denied" ? this.#texts[state] : undefined;
    this.#notice.hidden = said === undefined;
    if (this.#notice.dataset.state === state) return;
    this.#notice.dataset.state = state;
    const again = state === "stopped" ? this.#texts.resume : this.#texts.retry;
    this.#notice.replaceChildren(...(said === undefined ? [] : [said, this.#button(again, () => this.#client.resume())]));
  }

  /** @param {string} label @param {() => void} click */
  #button(label, click) {
    return element("button", { type: "button", class: "text-button", click }, label);
  }
}

/**
 * A bell with an unread badge, and its feed in a panel; with the attribute `inline` the feed alone, in its place.
 *
 * Attributes: `url` (of Belfry), `token-url` (of the host's own back end: answers a token as text), `topics`, `events`
 * (event types beyond `message` that show as they arrive), `lang` (`en`, `zh`), `inline`, `no-toasts`. Properties, to be
 * set before it is in the page: `token` (a function that gets one), `texts` (own wording). Events, all of which bubble:
 * `belfry-message`, `belfry-open` and `belfry-action`, which can be cancelled (no toast, no navigation), `belfry-unread`
 * and `belfry-state`. Colours: the custom properties at the head of the styles; light and dark follow `color-scheme`.
 */
export class BelfryFeed extends HTMLElement {
  /** @type {(() => string | Promise<string>) | undefined} */ token;
  /** @type {Partial<Texts>} */ texts = {};
  /** What the element itself uses. @type {BelfryClient | null} */ client = null;
  #root = this.attachShadow({ mode: "open" });
  /** @type {FeedModel | null} */ #model = null;
  /** @type {FeedPanel | null} */ #panel = null;
  /** @type {Bell | null} */ #bell = null;
  /** @type {Toasts | null} */ #toasts = null;
  #words = TEXTS.en;
  #live = element("p", { class: "unseen", "aria-live": "polite" });
  /** @type {Set<string>} */ #fresh = new Set();
  #timer = 0;
  #isDue = false;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
  }

  connectedCallback() {
    this.client = this.#connect();
    this.#model = new FeedModel(this.client, () => this.#renderSoon());
    this.#build(this.client, this.#model);
    this.#model.open();
    this.#timer = setInterval(() => this.#panel?.age(), AGE_MS);
    document.addEventListener("pointerdown", this.#onPointerDown);
    addEventListener("resize", this.#placePanel);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
    document.removeEventListener("pointerdown", this.#onPointerDown);
    removeEventListener("resize", this.#placePanel);
    this.#panel?.close();
    this.#model?.close();
    this.#model = null;
    this.#root.replaceChildren();
  }

  get unread() {
    return this.client?.unread ?? 0;
  }

  get isOpen() {
    return this.hasAttribute("inline") || Boolean(this.#panel?.root.matches(":popover-open"));
  }

  /** Show the panel. */
  open() {
    if (this.isOpen) return;
    this.#toasts?.clear();
    this.#panel?.root.showPopover();
    this.#placePanel();
    this.#panel?.focus();
    this.#renderSoon();
  }

  /** Hide the panel; the bell has the focus again. */
  close() {
    if (!this.isOpen || !this.#bell) return;
    this.#panel?.root.hidePopover();
    this.#bell.root.focus();
    this.#renderSoon();
  }

  #connect() {
    const client = new BelfryClient({
      url: this.getAttribute("url") ?? undefined,
      token: this.token ?? this.#tokenFromHost(),
      topics: words(this.getAttribute("topics")),
    });
    client.listen(words(this.getAttribute("events")) ?? []);
    client.on("*", (message) => this.#onMessage(message));
    client.on("removed", ({ ids }) => this.#toasts?.clear(ids));
    client.on("unread", (unread) => {
      this.#announce("unread", { unread });
      this.#renderSoon();
    });
    client.on("state", (state) => {
      this.#announce("state", { state });
      this.#renderSoon();
    });
    return client;
  }

  #tokenFromHost() {
    const url = this.getAttribute("token-url");
    if (url === null) return undefined;
    return async () => {
      const answer = await fetch(url, { cache: "no-store" });
      if (!answer.ok) throw new Refusal(answer, {});
      return (await answer.text()).trim();
    };
  }

  /** @param {BelfryClient} client @param {FeedModel} model */
  #build(client, model) {
    const { lang, texts } = language(this);
    this.#words = { ...texts, ...this.texts };
    const inline = this.hasAttribute("inline");
    this.#panel = new FeedPanel(model, client, this.#wanted(model), lang, this.#words, inline ? null : () => this.close());
    this.#panel.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
    this.#bell = inline ? null : new Bell(this.#words, () => (this.isOpen ? this.close() : this.open()));
    this.#toasts = new Toasts(this.#words, (message) => this.#onToastClick(message));
    this.#root.append(...(this.#bell ? [this.#bell.root] : []), this.#panel.root, this.#toasts.root, this.#live);
  }

  /** @param {FeedModel} model @returns {Wanted} */
  #wanted(model) {
    const failed = () => this.#panel?.failed();
    return {
      mark: (message, read) => model.mark(message, read).catch(failed),
      archive: (message, archived) => model.archive(message, archived).catch(failed),
      remove: (message) => model.remove(message).catch(failed),
      announce: (name, detail) => this.#announce(name, detail),
    };
  }

  /** @param {string} name @param {object} detail @returns {boolean} false when the host page cancelled it */
  #announce(name, detail) {
    return this.dispatchEvent(new CustomEvent(`belfry-${name}`, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  /** Once for all that changed in this turn; not by animation frames, which a hidden tab has none of. */
  #renderSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (this.#model) this.#render();
    });
  }

  #render() {
    this.#bell?.render(this.unread, this.isOpen);
    this.#panel?.render(this.#fresh);
    this.#fresh.clear();
  }

  /** @param {Message} message */
  #onMessage(message) {
    this.#fresh.add(message.id);
    if (!this.#announce("message", { message })) return;
    this.#live.textContent = this.#words.arrived(headline(message, this.#words));
    inOneTab(message.id, () => this.#notify(message));
  }

  /** @param {Message} message */
  #notify(message) {
    if (this.hasAttribute("no-toasts")) return;
    if (Wishes.has("sound")) chime();
    if (document.hidden) this.#notifyDesktop(message);
    else if (!this.isOpen) this.#toasts?.show(message);
  }

  /** @param {Message} message */
  #notifyDesktop(message) {
    if (!Wishes.has("desktop") || Notification.permission !== "granted") return;
    const notification = new Notification(headline(message, this.#words), { body: (message.title && message.body) ?? "", tag: message.id });
    notification.onclick = () => {
      focus();
      this.open();
    };
  }

  /** @param {Message} message */
  #onToastClick(message) {
    this.#model?.mark(message, true).catch(() => this.#panel?.failed());
    if (this.#announce("open", { message }) && !safeUrl(message.url)) this.open();
  }

  #onPointerDown = (/** @type {PointerEvent} */ event) => {
    if (this.#bell && this.isOpen && !event.composedPath().includes(this)) {
      this.#panel?.root.hidePopover();
      this.#renderSoon();
    }
  };

  /** Below the bell, inside the window. */
  #placePanel = () => {
    if (!this.#bell || !this.#panel || !this.isOpen) return;
    const { bottom, left, right } = this.#bell.root.getBoundingClientRect();
    const { style, offsetWidth } = this.#panel.root;
    const wanted = this.matches(":dir(rtl)") ? left : right - offsetWidth;
    style.setProperty("--_top", `${Math.round(bottom + 8)}px`);
    style.setProperty("--_left", `${Math.round(Math.max(8, Math.min(wanted, innerWidth - offsetWidth - 8)))}px`);
  };
}

/** One message as the feed shows it, to look at only: set its property `message`. */
export class BelfryMessage extends HTMLElement {
  #root = this.attachShadow({ mode: "open" });

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
  }

  /** @param {Message} message */
  set message(message) {
    const { lang, texts } = language(this);
    const nothing = () => {};
    const wanted = { mark: nothing, archive: nothing, remove: nothing, announce: () => false };
    const { article } = new MessageView(message, texts, new Age(lang, texts), wanted);
    article.inert = true;
    this.#root.replaceChildren(article);
  }
}

function styleSheet() {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLES);
  return sheet;
}

/** The language that holds for `element`, and the texts in it. @param {Element} element */
function language(element) {
  const lang = element.closest("[lang]")?.getAttribute("lang") || navigator.language;
  return { lang, texts: lang.startsWith("zh") ? TEXTS.zh : TEXTS.en };
}

/** @param {string | null} text @returns {string[] | undefined} */
const words = (text) => text?.split(/[\s,]+/).filter(Boolean);

customElements.define("belfry-feed", BelfryFeed);
customElements.define("belfry-message", BelfryMessage);
