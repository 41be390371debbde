// What a tab makes of what the leading tab tells.

import { Backoff } from "./reconnect.js";
import { blocksOf } from "./poll.js";
import { Refusal } from "./server.js";
import { OWN_TYPES, further, reaches } from "./stream.js";

/** @import { Block, Page } from "./types.js" */

const WAITING_MOST = 1_000; // blocks that a tab keeps while it fetches what came before them

/**
 * What a leading tab tells: a block, and the place `from` before it; without a block, its own place. `isSure`: it listens to
 * every event type that this tab wants, so nothing is missing between `from` and the block.
 * @typedef {{from: string, block: Block | null, isSure: boolean}} Told without a block: that it stands at `from`
 */

/** Whether it is in the history. @param {Told} told */
const isMessage = ({ block }) => block !== null && block.kept && !OWN_TYPES.has(block.type);

/**
 * Puts what the leading tab tells into this tab's order. Each block comes with the place before it. If this tab has
 * everything up to that place, it takes the block at once. Otherwise the block waits until the gap was fetched: taken
 * earlier, it would be shown before older messages, and they would count as known. So it doesn't matter which tab leads,
 * whether two lead for a moment, or when this tab began to listen.
 */
export class Follower {
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

  /** This tab leads now, or leaves. Whatever is still on its way is ignored. */
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
    for (const told of this.#before.splice(0)) if (!isMessage(told)) this.#take(told); // the pages had the messages
    while (this.#since[0] && this.#isNext(this.#since[0])) this.#take(/** @type {Told} */ (this.#since.shift()));
    this.#isBehind = this.#since.length > 0;
    return this.#isBehind;
  }

  /** @param {unknown} error */
  #onFailed(error) {
    if (this.#isOver) return;
    const refusal = error instanceof Refusal ? error : null;
    if (refusal?.status === 400 || refusal?.status === 410) this.#lose(); // the history after this tab's place is gone
    this.#isBehind = this.#before.length + this.#since.length > 0;
    if (this.#isBehind) this.#timer = setTimeout(() => this.#catchUp(), Math.max(this.#backoff.next(), refusal?.retryAfterMs ?? 0));
  }

  /** Continue from the leading tab's place. */
  #lose() {
    const told = [...this.#before.splice(0), ...this.#since.splice(0)];
    this.#on.lose(told[0]?.from ?? "");
    for (const each of told) this.#take(each);
  }

  /** @param {Told} told */
  #isNext({ from, block, isSure }) {
    const place = this.#on.place();
    const isWithin = block?.end && place !== from && !reaches(place, block.end); // in a page: nobody can tell which of its messages are known
    return isSure && !isWithin && reaches(place, from);
  }

  /** @param {Told} told */
  #take(told) {
    const { from, block } = told;
    const place = this.#on.place();
    if (block === null) return this.#on.move(reaches(place, from) ? further(place, from) : place);
    const isKnown = isMessage(told) && place !== "" && reaches(place, block.end ?? block.cursor);
    const isHere = block.kept || reaches(place, block.cursor); // otherwise it belongs to a history or to logs that this tab doesn't read
    if (!isKnown) this.#pass(isHere ? block : { ...block, cursor: place });
  }

  /** @param {Block} block */
  #pass(block) {
    if (this.#isOver) return; // a listener may have closed the client
    const isNew = block.type === "reset"; // a place of its own, which may be an earlier one
    this.#on.take(isNew ? block : { ...block, cursor: further(this.#on.place(), block.cursor) });
  }
}
