// The HTTP calls to one Belfry server, and its refusals.

/** @import { ClientOptions, Page, RunAnswer } from "./types.js" */

const ANSWER_MS = 15_000;

export const POLL_WAIT_SECONDS = 25; // below the idle limits of proxies

/** Where this module came from: the address above `/static/`. A copy of it elsewhere stands for the origin it is on. */
const MODULE_BASE = import.meta.url.replace(/\/static\/modules\/.*$/, "").replace(/^(https?:\/\/[^/]+)\/.*\.[cm]?[jt]sx?(\?.*)?$/, "$1");

/** The address of the server. A bundler may have replaced the address of this module by that of a file. @param {string | undefined} url */
function baseOf(url) {
  const here = globalThis.document?.baseURI ?? globalThis.location?.href;
  const given = url ?? (MODULE_BASE.startsWith("http") ? MODULE_BASE : here && new URL(here).origin);
  if (given !== undefined && URL.canParse(given, here)) {
    const { href } = new URL(given, here);
    if (/^https?:/.test(href)) return href.replace(/[?#].*$/, "").replace(/\/+$/, "");
  }
  throw new TypeError(`url: expected the address of Belfry, such as "https://push.example.com", got ${JSON.stringify(given) ?? "none"}`);
}

/**
 * A call that did not succeed, and why. `code` is Belfry's. When something else answered, such as a proxy, it is `not_belfry`,
 * or "" where the answer has no body. Codes of this module, with status 0: `unreachable`, `origin_refused`, `token_unavailable`, `token_malformed`, `address_malformed`.
 */
export class Refusal extends Error {
  /** @param {number} status @param {{code?: string, detail?: string}} problem @param {number} [retryAfterMs] */
  constructor(status, { code = "", detail = `The server answered ${status}` }, retryAfterMs = 0) {
    super(detail);
    this.name = "Refusal";
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether only a new credential can help. */
  get denied() {
    return this.status === 401 || this.status === 403 || /^(token|address)_malformed$/.test(this.code);
  }
}

/** The HTTP calls to one Belfry server, for one user. */
export class Server {
  /** @type {Promise<string> | null} */ #token = null;
  #provider;

  /** @param {ClientOptions} options */
  constructor({ url, token, tokenUrl, topics }) {
    this.base = baseOf(url);
    this.topics = topics;
    this.#provider = token ?? (tokenUrl === undefined ? undefined : () => tokenFrom(tokenUrl));
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
    const answer = await this.call(`/feed?${this.#query(query)}`, { signal: signal ?? null });
    return answer.json();
  }

  /** @param {"read" | "archive" | "remove"} verb @param {object} change @returns {Promise<{unread: number, revision?: number}>} */
  async mark(verb, change) {
    const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change) };
    const answer = await this.call(`/feed/${verb}?${this.#query({})}`, { ...init, ...lastingCall() });
    return answer.json();
  }

  /** @param {string} id @returns {Promise<{unread?: number, revision?: number}>} */
  async remove(id) {
    const query = this.#query(isDots(id) ? { id } : {});
    const answer = await this.call(`/feed/${pathSegment(id)}?${query}`, { method: "DELETE", ...lastingCall() });
    return answer.status === 204 ? {} : answer.json();
  }

  /** The address of the user's stream from `cursor` on, for so many tabs. @param {string} cursor @param {number} tabs @returns {Promise<string>} */
  async streamUrl(cursor, tabs) {
    return `${this.base}/stream?${this.#query({ ...(await this.#streamQuery(cursor)), unnamed: "true", ...(tabs && { tabs }) })}`;
  }

  /** So many tabs share the connection now. @param {string} connection as `ready` named it @param {number} tabs */
  async tellTabs(connection, tabs) {
    await this.call(`/presence/tabs?${new URLSearchParams({ connection, tabs: String(tabs) })}`, { method: "POST" });
  }

  /** The address of a run's stream from `cursor` on. @param {string} id @param {string} cursor @returns {Promise<string>} */
  async runStreamUrl(id, cursor) {
    const query = { ...(await this.#streamQuery(cursor)), ...(isDots(id) && { id }) };
    return `${this.base}/completions/${pathSegment(id)}/stream?${new URLSearchParams(query)}`;
  }

  /** @param {object} request */
  async startRun(request) {
    const headers = { "Content-Type": "application/json" };
    await this.call("/completions", { method: "POST", headers, body: JSON.stringify(request) });
  }

  /** @param {string} id @returns {Promise<RunAnswer>} */
  async run(id) {
    return (await this.call(runPath(id), {})).json();
  }

  /** @param {string} id */
  async stopRun(id) {
    await this.call(runPath(id), { method: "DELETE" });
  }

  /** @param {number} limit @returns {Promise<RunAnswer[]>} */
  async runs(limit) {
    return (await (await this.call(`/completions?limit=${limit}`, {})).json()).completions;
  }

  /**
   * Why no stream can be opened. An EventSource doesn't tell; HEAD asks without starting a stream. Its answers have no body,
   * so a call that is refused for the same reason tells the code.
   * @param {string} cursor @returns {Promise<Refusal | null>} null: there is no reason now
   */
  async refusal(cursor) {
    const query = this.#query(cursor ? { last_event_id: cursor } : {});
    try {
      await this.call(`/stream?${query}`, { method: "HEAD" });
      return null;
    } catch (error) {
      if (!(error instanceof Refusal)) return this.noAnswer();
      const isUnnamed = !error.code && (error.denied || error.status === 404 || error.status === 405);
      return isUnnamed ? this.feed({ limit: 1 }).then(() => error, (named) => (named instanceof Refusal ? named : error)) : error;
    }
  }

  /** Why a call got no answer that this page may read. @returns {Promise<Refusal>} */
  async noAnswer() {
    const { origin } = location;
    const isElsewhere = new URL(this.base).origin !== origin;
    const isUp = isElsewhere && (await fetch(`${this.base}/health/live`, { mode: "no-cors", cache: "no-store" }).then(() => true, () => false));
    if (isUp) return new Refusal(0, { code: "origin_refused", detail: `${this.base} is up, but it does not accept calls from pages of ${origin}` });
    return new Refusal(0, { code: "unreachable", detail: `No answer from ${this.base}` });
  }

  /** Ask for a new token next time. */
  forgetToken() {
    this.#token = null;
  }

  /** @param {string} cursor */
  async #streamQuery(cursor) {
    /** @type {Record<string, string>} */
    const query = cursor ? { last_event_id: cursor } : {};
    if (this.usesTickets) query.ticket = (await (await this.call("/tickets", { method: "POST" })).json()).ticket;
    return query;
  }

  /** @param {Record<string, string | number>} given */
  #query(given) {
    const commas = this.topics?.some((topic) => topic.includes(","));
    const query = new URLSearchParams(this.topics && !commas ? { topics: this.topics.join(",") } : {});
    if (this.topics?.length) query.set("partial", "true"); // a topic that can't be read must not cost the feed
    if (commas) for (const topic of this.topics ?? []) query.append("topic", topic);
    for (const [name, value] of Object.entries(given)) query.set(name, String(value));
    return query;
  }

  #getToken() {
    this.#token ??= this.#askForToken();
    this.#token.catch(() => this.forgetToken());
    return this.#token;
  }

  async #askForToken() {
    try {
      return tokenIn(await inTime(this.#provider?.()));
    } catch (error) {
      if (error instanceof Refusal) throw error;
      throw new Refusal(0, { code: "token_unavailable", detail: `No token: ${error instanceof Error ? error.message : error}` });
    }
  }

  /** The answer to a call, with the user's credential. Any other status throws a `Refusal`. @param {string} path @param {RequestInit} init @returns {Promise<Response>} */
  async call(path, init) {
    const answer = await this.#send(path, init);
    if (answer.ok) return answer;
    if (answer.status === 401 && this.usesTickets) {
      this.forgetToken();
      const again = await this.#send(path, init);
      if (again.ok) return again;
    }
    const retryAfterMs = 1_000 * (Number(answer.headers.get("Retry-After")) || 0);
    const isKnown = init.method === "HEAD" || /json/.test(answer.headers.get("Content-Type") ?? "");
    const other = { code: "not_belfry", detail: `Expected Belfry at ${this.base}, got ${answer.status} of another program` };
    throw new Refusal(answer.status, isKnown ? await answer.json().catch(() => ({})) : other, retryAfterMs);
  }

  /** @param {string} path @param {RequestInit} init */
  async #send(path, init) {
    const headers = new Headers(init.headers);
    if (this.#provider) headers.set("Authorization", `Bearer ${await this.#getToken()}`);
    const limit = AbortSignal.timeout(ANSWER_MS + 1_000 * POLL_WAIT_SECONDS);
    const both = init.signal && "any" in AbortSignal ? AbortSignal.any([init.signal, limit]) : init.signal; // Safari before 17.4 lacks it
    return fetch(this.base + path, { ...init, headers, signal: both ?? limit, credentials: "same-origin", cache: "no-store" });
  }
}

/** What the page's own back end answers at `url`, which gives tokens. @param {string} url */
async function tokenFrom(url) {
  const answer = await fetch(url, { cache: "no-store" }).catch(() => null);
  if (answer?.ok) return answer.text();
  const isSignedOut = answer?.status === 401 || answer?.status === 403;
  const detail = answer ? `${url} answered ${answer.status} instead of a token` : `No answer from ${url}, which gives the token`;
  throw new Refusal(isSignedOut ? answer.status : 0, { code: "token_unavailable", detail });
}

/** Whether an id can't stand in a path, because browsers resolve it there. The query holds it then. @param {string} id */
const isDots = (id) => id === "." || id === "..";

/** @param {string} id */
const pathSegment = (id) => (isDots(id) ? "~" : encodeURIComponent(id));

/** @param {string} id */
const runPath = (id) => `/completions/${pathSegment(id)}${isDots(id) ? `?id=${id}` : ""}`;

/** A change that goes on when the page is left, and that fails while the user still remembers it. @returns {RequestInit} */
const lastingCall = () => ({ keepalive: true, signal: AbortSignal.timeout(ANSWER_MS) });

/** The token in what a page gave: as text, as JSON `{"token": "…"}`, or as a JSON string. @param {unknown} given */
export function tokenIn(given) {
  const text = typeof given === "string" ? given.trim() : "";
  let found = given;
  try {
    found = /^["{]/.test(text) ? JSON.parse(text) : text || given;
  } catch {
    // no JSON: refused below
  }
  if (found !== null && typeof found === "object" && "token" in found) found = found.token;
  if (typeof found === "string" && /^[\w-]+\.[\w-]+\.[\w-]*$/.test(found)) return found;
  throw new Refusal(0, { code: "token_malformed", detail: `Expected a token (a signed JWT), got ${kindOf(found)}` });
}

/** What was given instead of a token. It is not repeated, because it may be a secret. @param {unknown} given */
function kindOf(given) {
  if (given === "") return "an empty text";
  if (typeof given === "string") return given.startsWith("<") ? "an HTML page, perhaps a login page" : "another text";
  if (given === null || typeof given !== "object") return String(given);
  return Array.isArray(given) ? "a list" : `an object with the members ${Object.keys(given).join(", ")}`;
}

/** What the page gives, unless that takes too long. @param {unknown} given */
async function inTime(given) {
  let timer = 0;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`none after ${ANSWER_MS / 1_000} seconds`)), ANSWER_MS);
  });
  return Promise.race([given, late]).finally(() => clearTimeout(timer));
}
