// A user's feed as the element shows it.

import { reaches } from "./cursor.js";
import { Refusal } from "./server.js";

/** @import { BelfryClient } from "./client.js" */
/** @import { Block, Message, Page } from "./types.js" */

const PAGE_SIZE = 30;
const RELOAD_MS = 300;

export const TABS = /** @type {const} */ (["all", "unread", "archived"]);
/** @typedef {typeof TABS[number]} Tab */

/**
 * The part of a user's feed that the chosen tab shows, newest first.
 *
 * Changes that the user makes elsewhere arrive as events. Each raises the feed's revision by one, so a jump means that a
 * change was missed. Then the feed is fetched again.
 */
export class FeedModel {
  /** @type {Tab} */ tab = "all";
  /** @type {Message[]} */ messages = [];
  /** @type {"loading" | "loaded" | "failed"} */ state = "loading";
  #client;
  #changed;
  /** @type {string | null} */ #next = null;
  #revision = -1;
  #load = 0; // the number of the latest load; answers to older ones are ignored
  /** @type {Block[]} */ #arrived = []; // messages that came while the newest were fetched
  #told = -1; // the latest revision that was told since the load began
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
    if (error instanceof Refusal && error.code === "history_lost") this.#reloadSoon(); // older messages can't be reached from here
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
