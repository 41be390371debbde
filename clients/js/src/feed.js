// A user's feed for a view of your own: what React and Vue show.

import { BelfryClient } from "../../../app/static/modules/client.js";
import { FeedModel } from "../../../app/static/modules/model.js";

/** @import { ClientOptions, Message, State } from "../../../app/static/modules/types.js" */
/** @import { Tab } from "../../../app/static/modules/model.js" */

/** @typedef {ClientOptions & {events?: string[] | undefined}} FeedOptions `events`: event types that arrive live, besides `message` */
/**
 * @typedef {object} FeedState What to show now. A change makes a new object.
 * @property {Message[]} messages newest first, as far as they are loaded
 * @property {number} unread the user's unread messages, those that are not loaded included
 * @property {State} state of the connection
 * @property {string} reason why it is `stopped` or `denied`
 * @property {boolean} isLoading
 * @property {boolean} hasFailed the messages could not be loaded; the feed tries again
 * @property {boolean} hasMore whether `more()` can load older messages
 */

/** Before the feed is opened, and on a server that renders pages. @type {FeedState} */
export const EMPTY = Object.freeze({ messages: [], unread: 0, state: "idle", reason: "", isLoading: true, hasFailed: false, hasMore: false });

/**
 * A user's feed as it changes. Changes that the user makes are shown at once, and undone if the server refuses them.
 *
 *   const feed = new Feed({ url: "https://push.example.com", tokenUrl: "/belfry-token" });
 *   feed.subscribe(() => show(feed.current.messages));
 *   feed.open();
 */
export class Feed {
  /** @type {FeedState} */ current = EMPTY;
  /** The connection. @type {BelfryClient} */ client;
  #model;
  /** @type {Set<() => void>} */ #listeners = new Set();

  /** @param {FeedOptions} [options] */
  constructor({ events = [], ...options } = {}) {
    this.client = new BelfryClient(options);
    this.client.listen(events);
    this.#model = new FeedModel(this.client, () => this.#update());
    this.client.on("state", () => this.#update());
    this.client.on("unread", () => this.#update());
  }

  /** Call `listener` after each change. @param {() => void} listener @returns {() => void} takes it away */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Load the newest messages, and connect. */
  open() {
    return this.#model.open();
  }

  /** Disconnect. A feed that was closed is not opened again: make a new one. */
  close() {
    this.#model.close();
  }

  /** Show another part of the feed. @param {Tab} tab */
  show(tab) {
    return this.#model.show(tab);
  }

  /** Load older messages. */
  more() {
    return this.#model.state === "failed" ? this.#model.retry() : this.#model.more();
  }

  /** @param {Message} message @param {boolean} [read] */
  markRead(message, read = true) {
    return this.#model.mark(message, read);
  }

  markAllRead() {
    return this.#model.markAll();
  }

  /** @param {Message} message @param {boolean} [archived] */
  archive(message, archived = true) {
    return this.#model.archive(message, archived);
  }

  /** @param {Message} message */
  remove(message) {
    return this.#model.remove(message);
  }

  /** Take back the latest archiving, removal or "mark all as read". */
  undo() {
    return this.#model.undo();
  }

  /** Go on after the server said stop: the user asked for it. */
  resume() {
    this.client.resume();
  }

  #update() {
    const { messages, state, isWhole } = this.#model;
    const { client } = this;
    this.current = {
      messages,
      unread: client.unread,
      state: client.state,
      reason: client.reason,
      isLoading: state === "loading",
      hasFailed: state === "failed",
      hasMore: !isWhole,
    };
    for (const listener of this.#listeners) listener();
  }
}
