// The HTTP calls to one Belfry server, and its refusals.

/** @import { ClientOptions, Page, RunAnswer } from "./types.js" */

const ANSWER_MS = 15_000;

export const POLL_WAIT_SECONDS = 25; // below the idle limits of proxies

/** An answer of the server that is not a success. `code` is Belfry's, or "" when something else answered, such as a proxy. */
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

/** The HTTP calls to one Belfry server, for one user. */
export class Server {
  /** @type {Promise<string> | null} */ #token = null;
  #provider;

  /** @param {ClientOptions} options */
  constructor({ url = import.meta.url, token, topics }) {
    this.origin = new URL(url, document.baseURI).origin;
    this.topics = topics;
    this.#provider = token;
  }

  /** A ticket opens one stream, so the browser can't resume a stream with a ticket by itself. */
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
   * Why no stream can be opened. An EventSource doesn't tell; HEAD asks without starting a stream.
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

/** Whether an id can't stand in a path, because browsers resolve it there. The query holds it then. @param {string} id */
const isDots = (id) => id === "." || id === "..";

/** @param {string} id */
const pathSegment = (id) => (isDots(id) ? "~" : encodeURIComponent(id));

/** @param {string} id */
const runPath = (id) => `/completions/${pathSegment(id)}${isDots(id) ? `?id=${id}` : ""}`;
