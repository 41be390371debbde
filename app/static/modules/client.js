// A user's messages as they come.

import { Listeners, watchPage } from "./events.js";
import { Follower } from "./follower.js";
import { Recent, randomId } from "./id.js";
import { Link } from "./link.js";
import { Server } from "./server.js";
import { OWN_TYPES } from "./stream.js";
import { TabGroup } from "./tabs.js";

/** @import { Block, ClientOptions, Problem, State } from "./types.js" */

/** What else a client tells. */
const OWN_EVENTS = new Set(["*", "state", "unread", "error"]);

/**
 * Delivers a user's messages as they arrive: each once and without a gap, over one connection for all tabs of a browser.
 *
 *   const client = new BelfryClient();
 *   client.on("message", (message) => console.log(message.title));
 *   const page = await client.feed();
 *   client.open(page.cursor);
 */
export class BelfryClient {
  /** Where this tab stands. @type {string} */ cursor = "";
  /** @type {State} */ state = "idle";
  /** Why it is `stopped` or `denied`: a code of a refusal, or the reason of a goodbye. */ reason = "";
  /** The user's unread messages. */ unread = 0;
  #behind = 0; // messages that are still to come and that the server has counted already
  /** What the element itself uses. @type {Server} */ server;
  #listeners = new Listeners();
  #types = new Set(["message"]);
  #recent = new Recent();
  /** @type {TabGroup | null} */ #group = null;
  /** @type {Link | null} */ #link = null;
  /** @type {Follower | null} */ #follower = null; // while another tab leads
  #term = ""; // names the time for which this tab leads
  #heard = new Set(); // terms of leaders that listen to all of our event types
  #user = "";
  #isOpen = false;
  #stopWatching = () => {};

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    this.server = new Server(options);
  }

  /**
   * Hear of messages of the event type `type`, of every message whatever its type ("*"), of `state`, `unread` and `error` (a `Problem`, for
   * developers), or of Belfry's own `ready`, `read`, `removed`, `updated` and `reset` (history was lost: fetch the feed again).
   * @param {string} type @param {(data: any, block?: Block) => void} listener
   * @returns {() => void} takes the listener away
   */
  on(type, listener) {
    if (!OWN_TYPES.has(type) && !OWN_EVENTS.has(type)) this.listen([type]);
    return this.#listeners.add(type, listener);
  }

  /** Have messages of these event types delivered by a server that knows no `unnamed` streams. Others send every type. @param {Iterable<string>} types */
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
    const join = () => void this.#join();
    this.#stopWatching = watchPage({ leave: this.#leave, restore: join, wake: this.#wake, stay: () => this.#link?.stay(), freeze: this.#freeze, thaw: join });
    await this.#join();
  }

  /** Go on after the server said stop: the user asked for it. */
  resume() {
    this.server.forgetToken();
    if (!this.#isOpen) this.open();
    else if (this.#link) this.#link.resume();
    else this.#group?.post({ kind: "resume" });
  }

  close() {
    this.#isOpen = false;
    this.#stopWatching();
    this.#leave();
  }

  /** A page of the feed, newest first. Whatever event types it shows arrive live from now on. @param {Record<string, string | number>} [query] */
  async feed(query = {}) {
    const page = await this.server.feed(query);
    if (!this.isConnected) this.#setUnread(page.unread);
    this.listen(page.messages.map((message) => message.event ?? "message"));
    return page;
  }

  /** @param {string[]} ids @param {boolean} [read] */
  markRead(ids, read = true) {
    return this.#counted(this.server.mark("read", { ids, read }));
  }

  markAllRead() {
    return this.#counted(this.server.mark("read", { all: true }));
  }

  archiveAll() {
    return this.#counted(this.server.mark("archive", { all: true }));
  }

  /** @param {string[]} ids @param {boolean} [archived] */
  archive(ids, archived = true) {
    return this.#counted(this.server.mark("archive", { ids, archived }));
  }

  /** Take removed messages back. @param {string[]} ids */
  restore(ids) {
    return this.#counted(this.server.mark("remove", { ids, removed: false }));
  }

  /** @param {string} id */
  remove(id) {
    return this.#counted(this.server.remove(id));
  }

  /** Whether the user may no longer see what was shown: the credential is not valid, or was withdrawn. */
  get isSignedOut() {
    return this.state === "denied" || (this.state === "stopped" && this.reason === "revoked");
  }

  /** Whether the page gives tokens; otherwise the session cookie counts. */
  get usesTokens() {
    return this.server.usesTickets;
  }

  /** Whether messages arrive now. */
  get isConnected() {
    return this.state === "live" || this.state === "polling";
  }

  /**
   * A live stream reports the change too, in order with the messages. Its count is exact, so this one is not used then.
   * @param {Promise<{unread?: number}>} answer
   */
  async #counted(answer) {
    const { unread } = await answer;
    if (this.state === "live" || unread === undefined) return;
    this.#setUnread(unread);
    this.#group?.post({ kind: "unread", unread });
  }

  // The other tabs

  async #join() {
    const subject = await this.server.subject().catch(randomId); // nobody knows whose tab it is, so it shares with none
    if (!this.#isOpen || this.#group) return;
    const name = ["belfry", this.server.base, subject, ...(this.server.topics ?? [])].join(" ");
    this.#group = new TabGroup(name, {
      lead: () => this.#lead(),
      stepDown: () => this.#stepDown(),
      ask: () => this.#ask(),
      message: (message) => this.#onTab(message),
    });
    this.#follow();
    this.#group.join();
  }

  /** A frozen page can't use its connection. */
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

  #wake = () => {
    this.#group?.wake();
    this.#link?.wake();
  };

  #follow() {
    this.#follower = new Follower({
      place: () => this.cursor,
      take: (block) => this.#receive(block, this.unread), // the leader's count includes it
      move: (place) => { this.cursor = place; },
      fetch: (place) => this.server.feed({ after: place }),
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
    this.#link = new Link(this.server, this.cursor, this.#types, tabs, this.#onLinkBlock, this.#onLinkState, this.#onLinkProblem);
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

  #onLinkState = (/** @type {State} */ state, /** @type {string} */ reason) => {
    this.#setState(state, reason);
    this.#pulse();
  };

  #onLinkProblem = (/** @type {Problem} */ problem) => {
    this.#group?.post({ kind: "error", problem });
    this.#listeners.emit("error", problem);
  };

  #ask() {
    if (!this.#link) this.#group?.post({ kind: "ask", types: [...this.#types] });
  }

  #pulse() {
    const { state, reason, unread, cursor } = this;
    this.#group?.post({ kind: "pulse", leader: this.#term, state, reason, unread, from: cursor, types: [...this.#types] });
  }

  /** @param {any} message */
  #onTab(message) {
    if (message.kind === "unread") this.#setUnread(message.unread);
    else if (this.#link) this.#onFollower(message); // a leader gets the same from its own stream
    else if (message.kind === "pulse") this.#onPulse(message);
    else if (message.kind === "block") this.#onTold(message);
    else if (message.kind === "error") this.#listeners.emit("error", message.problem);
  }

  /** @param {{kind: string, types: string[]}} message */
  #onFollower({ kind, types }) {
    if (kind === "resume") this.resume();
    if (kind !== "ask") return;
    this.#link?.lookAtTabs();
    this.#link?.check();
    this.listen(types);
    this.#pulse();
  }

  /** @param {{leader: string, state: State, reason: string, unread: number, from: string, types: string[]}} pulse */
  #onPulse({ leader, state, reason = "", unread, from = "", types = [...this.#types] }) {
    this.#setState(state, reason);
    if (!this.isConnected) return;
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

  // The listeners

  /**
   * The number of unread messages after `block`. The server counts up to the stream's position; in `ready` it also counts
   * the missed messages that follow. Each further message that is kept adds one.
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
    if (!block.type.startsWith("belfry.")) this.#listeners.emit("*", block.data, block); // what Belfry tells its own pages is no message
  }

  /** @param {Block} block */
  #onReady({ data }) {
    if (this.#user && data.user && data.user !== this.#user) this.#listeners.emit("reset", {}); // another user signed in meanwhile
    this.#user = data.user ?? this.#user;
    this.#listeners.emit("ready", data);
  }

  /** @param {State} state @param {string} [reason] */
  #setState(state, reason = "") {
    if (state === this.state) return;
    [this.state, this.reason] = [state, reason];
    if (this.isSignedOut) this.#setUnread(0);
    this.#listeners.emit("state", state);
  }

  /** @param {number} unread */
  #setUnread(unread) {
    if (unread === this.unread) return;
    this.unread = unread;
    this.#listeners.emit("unread", unread);
  }
}
