// A user's feed as the element shows it.

import { Backoff } from "./reconnect.js";
import { Refusal } from "./server.js";
import { reaches } from "./stream.js";

/** @import { BelfryClient } from "./client.js" */
/** @import { Block, CustomTab, Message, Page } from "./types.js" */

const PAGE_SIZE = 30;
const RELOAD_MS = 300;
const UNDO_PAGE = 100; // the most that the server gives
const UNDO_MOST = 1_000; // ids in one change

/** @typedef {"all" | "unread" | "archived" | (string & {})} Tab The name of a tab. */
/** @type {CustomTab[]} */ const TABS = [{ name: "all" }, { name: "unread" }, { name: "archived" }];

/**
 * A change to the messages `ids`, or to all of them.
 * @typedef {{ids?: string[], all?: boolean, sweeps?: boolean, read?: boolean, archived?: boolean, removed?: boolean, revision?: number}} Change
 * `sweeps`: it clears the tab of unread messages.
 */
/** @typedef {{what: "archive" | "archiveAll" | "remove" | "readAll", undo: () => Promise<void>}} Done What the user can take back. */

/**
 * The part of a user's feed that the chosen tab shows, newest first.
 *
 * Changes that the user makes elsewhere arrive as events. Each raises the feed's revision by one, so a jump means that a
 * change was missed. Then the feed is fetched again. Changes that the user makes here are shown at once, on top of what the
 * server is known to have. A change that fails is thereby undone; since its reply may have been lost, the feed is fetched
 * again as soon as there is a connection.
 */
export class FeedModel {
  /** What the user can choose from. */ tabs = TABS;
  /** The name of the chosen one. @type {Tab} */ tab = "all";
  /** What is shown. @type {Message[]} */ messages = [];
  /** @type {"loading" | "loaded" | "failed"} */ state = "loading";
  /** The latest change that can be undone. @type {Done | null} */ done = null;
  /** @type {Message[]} */ #known = []; // what the server has
  /** @type {Set<Change>} */ #pending = new Set(); // changes that the server has not answered yet
  #client;
  #changed;
  /** @type {string | null} */ #next = null;
  #revision = -1;
  #load = 0; // the number of the latest load; answers to older ones are ignored
  /** @type {Block[]} */ #arrived = []; // messages that came while the newest were fetched
  #told = -1; // the latest revision that was told since the load began
  #isUsersChoice = false; // of the tab
  #isClosed = false;
  #isDoubtful = false; // a change failed, so nobody knows whether the server has it
  #backoff = new Backoff();
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
    client.on("state", () => this.#onState());
  }

  /** Fetch the newest, and connect. */
  async open() {
    const page = await this.reload();
    if (!this.#isClosed) await this.#client.open(page?.cursor);
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#load++;
    this.#client.close();
  }

  /** The page defines other tabs. Until the user chooses one, the first is shown. @param {CustomTab[]} [tabs] */
  setTabs(tabs = TABS) {
    this.tabs = tabs;
    const first = tabs[0]?.name ?? "all";
    if (this.tab !== first && !(this.#isUsersChoice && this.#chosen)) this.#turnTo(first);
  }

  get #chosen() {
    return this.tabs.find(({ name }) => name === this.tab);
  }

  /** Whether a message that just came belongs into the tab. @param {Message} message */
  #takes(message) {
    const { kind, value = "" } = this.#chosen ?? {};
    return kind === "tag" ? Boolean(message.tags?.includes(value)) : kind ? message[kind] === value : this.tab !== "archived";
  }

  /** @param {string} tab */
  async show(tab) {
    this.#isUsersChoice = true;
    await this.#turnTo(tab);
  }

  /** @param {string} tab */
  async #turnTo(tab) {
    this.tab = tab;
    this.#known = [];
    await this.reload();
  }

  /** Fetch the first page again. @returns {Promise<Page | null>} */
  async reload() {
    clearTimeout(this.#timer);
    this.#next = null;
    this.state = "loading";
    this.#show();
    this.#arrived = [];
    this.#told = -1;
    this.#isDoubtful = false;
    return this.#fetch({}, (page) => this.#begin(page));
  }

  /** Messages that came after the page was read stand before it. @param {Page} page */
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
    this.#show();
    await this.#fetch({ before: this.#next }, (page) => {
      const known = new Set(this.#known.map(({ id }) => id));
      return [...this.#known, ...page.messages.filter(({ id }) => !known.has(id))];
    });
  }

  /** Try again what failed. */
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
    const ids = this.messages.map(({ id }) => id); // not those that arrive until the server answers
    let unread = this.messages.filter(({ read }) => !read).map(({ id }) => id);
    const hasAll = this.isWhole && this.tab !== "archived";
    await this.#want({ ids, read: true, sweeps: true }, async () => {
      if (!hasAll) unread = await this.#idsOf({ unread: "true" });
      await this.#client.markAllRead();
    });
    this.#offer("readAll", () => this.#want({ ids: unread, read: false }, () => this.#client.markRead(unread, false)));
  }

  /** The messages that a change is about, also those that are not shown yet. @param {Record<string, string>} filter */
  async #idsOf(filter) {
    const ids = [];
    /** @type {string | null} */ let before = "";
    while (before !== null) {
      /** @type {Page} */ const page = await this.#client.feed({ limit: UNDO_PAGE, ...filter, ...(before && { before }) });
      ids.push(...page.messages.map(({ id }) => id));
      before = ids.length < UNDO_MOST ? page.next : null;
    }
    return ids.slice(0, UNDO_MOST);
  }

  /** @param {Done["what"]} what @param {() => Promise<void>} undo */
  #offer(what, undo) {
    this.done = { what, undo };
    this.#changed();
  }

  /** Take back the latest change. */
  async undo() {
    const done = this.done;
    this.done = null;
    this.#changed();
    await done?.undo();
  }

  /** @param {Message} message @param {boolean} archived */
  async archive(message, archived) {
    await this.#want({ ids: [message.id], archived }, () => this.#client.archive([message.id], archived));
    if (archived) this.#offer("archive", () => this.#want({ ids: [message.id], archived: false }, () => this.#client.archive([message.id], false)));
  }

  /** Archive what the tab shows, and up to a thousand messages that it would show further down. Those that come later stay. */
  async archiveAll() {
    let ids = this.messages.map(({ id }) => id);
    const hasAll = this.isWhole;
    await this.#want({ ids, archived: true }, async () => {
      if (!hasAll) ids = await this.#idsOf(this.#filter);
      if (ids.length === UNDO_MOST && this.tab === "all") await this.#client.archiveAll(); // there may be more
      else await this.#archiveIds(ids, true);
    });
    this.#offer("archiveAll", () => this.#want({ ids, archived: false }, () => this.#archiveIds(ids, false)));
  }

  /** In parts, because a browser sends no more than 64 KiB while its page closes. @param {string[]} ids @param {boolean} archived */
  async #archiveIds(ids, archived) {
    for (let at = 0; ids[at]; at += 400) await this.#client.archive(ids.slice(at, at + 400), archived);
  }

  /** @param {Message} message */
  async remove(message) {
    await this.#want({ ids: [message.id], removed: true }, () => this.#client.remove(message.id));
    this.#offer("remove", () => this.#want({ ids: [message.id], removed: false }, () => this.#client.restore([message.id])));
  }

  /** Show the change at once, and undo it if the server does not accept it. @param {Change} change @param {() => Promise<void>} send */
  async #want(change, send) {
    this.#pending.add(change);
    this.#show();
    try {
      await send();
      this.#pending.delete(change);
      this.#apply(change);
    } catch (error) {
      this.#pending.delete(change);
      this.#isDoubtful = true;
      this.#show();
      if (this.#client.isConnected) this.#reloadSoon();
      throw error;
    }
  }

  /** What the tab asks the server for. @returns {Record<string, string>} */
  get #filter() {
    const { kind, value = "" } = this.#chosen ?? {};
    if (kind) return { [kind === "topic" ? "only_topic" : kind]: value };
    return this.tab === "all" ? {} : { [this.tab]: "true" };
  }

  /** @param {Record<string, string>} query @param {(page: Page) => Message[]} take makes the new list */
  async #fetch(query, take) {
    const load = ++this.#load;
    const page = await this.#client.feed({ limit: PAGE_SIZE, ...this.#filter, ...query }).catch((error) => this.#onRefused(error));
    if (load !== this.#load) return page;
    this.state = page ? "loaded" : "failed";
    if (page) {
      this.#backoff.reset();
      this.#known = take(page);
      this.#next = page.next;
    } else if (this.#client.isConnected) this.#retryLater();
    this.#show();
    return page;
  }

  /** @param {unknown} error @returns {null} no page */
  #onRefused(error) {
    if (error instanceof Refusal && error.code === "history_lost") this.#reloadSoon(); // older messages can't be reached from here
    return null;
  }

  /** Without a connection, the next one is waited for. */
  #retryLater() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.state === "failed" && this.retry(), RELOAD_MS + this.#backoff.next());
  }

  #onState() {
    if (this.#client.isSignedOut) return this.#forget();
    if (!this.#client.isConnected) return;
    if (this.#isDoubtful || (this.state === "failed" && this.#next === null)) this.#reloadSoon();
    else if (this.state === "failed") this.#retryLater();
  }

  /** The messages are no longer this user's to see. The next connection fetches the feed. */
  #forget() {
    clearTimeout(this.#timer);
    this.#load++;
    this.#known = [];
    this.#next = null;
    this.state = "failed";
    this.#show();
  }

  #reloadSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reload(), RELOAD_MS);
  }

  /** @param {Message} message @param {Block} block */
  #receive(message, block) {
    const isTaken = this.#takes(message);
    if (this.state === "loading" && isTaken) this.#arrived.push(block);
    this.#known = this.#known.filter((other) => other.id !== message.id && (message.key === undefined || other.key !== message.key));
    if (isTaken) this.#known.unshift(message);
    this.#show();
  }

  /** @param {Change} change */
  #onChange(change) {
    this.#follow(change);
    this.#apply(change);
  }

  /** A connection begins: nobody told of the changes before it. @param {{revision?: number}} ready */
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

  /** The server has made this change. @param {Change} change */
  #apply(change) {
    this.#known = this.#changedBy(this.#known, change);
    const { archived, removed, read } = change;
    const comesBack = archived === (this.tab === "archived") || removed === false || (read === false && this.tab === "unread");
    if (comesBack) this.#reloadSoon(); // it is not in the list, or not in its place
    this.#show();
  }

  #show() {
    this.messages = [...this.#pending].reduce((messages, change) => this.#changedBy(messages, change), this.#known);
    this.#changed();
  }

  /** @param {Message[]} messages @param {Change} change @returns {Message[]} */
  #changedBy(messages, { ids = [], all = false, sweeps = all, read, archived, removed }) {
    const isMeant = (/** @type {Message} */ { id }) => all || ids.includes(id);
    if (read && this.tab === "unread" && (sweeps || ids.length > 1)) return messages.filter((message) => !isMeant(message));
    if (removed || (archived !== undefined && archived !== (this.tab === "archived"))) return messages.filter((message) => !isMeant(message));
    if (read === undefined) return messages;
    return messages.map((message) => (isMeant(message) ? { ...message, read } : message));
  }
}
