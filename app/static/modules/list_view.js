// The list of messages.

import { element } from "./markup.js";
import { Age, MessageView } from "./message_view.js";

/** @import { Texts } from "./texts.js" */
/** @import { Message, Wanted } from "./types.js" */

const NEAR_PX = 800; // rows up to this distance out of sight are in the page, ready for a quick scroll
const ROW_PX = 64; // a row's height until one was measured

/** The heights of rows: as measured, and for rows that were never shown the mean of the measured ones. */
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
 * The messages as a list of articles. The page holds only the rows near the visible part, and the row that has the focus.
 * Gaps take the space of the others. Each row states its number in the whole list.
 *
 * A gap whose guessed size is wrong does not move the rows that are being read: the browser's scroll anchoring corrects it.
 */
export class ListView {
  /** @type {Message[]} */ #messages = [];
  /** Of the rows in the page. @type {Map<string, MessageView>} */ #views = new Map();
  #heights = new Heights();
  #isWhole = true;
  #byDay;
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
   * @param {boolean} byDay whether the first message of each day has a heading
   */
  constructor(feed, lang, texts, leave, more, byDay) {
    this.#byDay = byDay;
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
    this.#keepInPlace(() => this.#render(messages, isWhole, fresh));
  }

  /** Where the browser has no scroll anchoring (WebKit), keep the first visible row in its place. @param {() => void} change */
  #keepInPlace(change) {
    const scroller = this.#scroller();
    const top = scroller === document.scrollingElement ? 0 : (scroller?.getBoundingClientRect().top ?? 0);
    const offset = (/** @type {HTMLElement} */ article) => article.getBoundingClientRect().top - top;
    const isNeeded = !CSS.supports("overflow-anchor", "auto") && scroller !== null && scroller.scrollTop > 0;
    const anchor = isNeeded ? [...this.#views.values()].find(({ article }) => offset(article) >= 0 && article.offsetHeight > 0) : undefined;
    const before = anchor ? offset(anchor.article) : 0;
    change();
    const after = anchor && this.#views.get(anchor.message.id);
    if (after && scroller) scroller.scrollTop += offset(after.article) - before;
  }

  /** What scrolls the list: its box, or the page where the feed is a part of it. */
  #scroller() {
    const box = this.root.parentElement;
    return box && box.scrollHeight > box.clientHeight && getComputedStyle(box).overflowY === "auto" ? box : document.scrollingElement;
  }

  /** @param {Message[]} messages @param {boolean} isWhole @param {Set<string>} fresh */
  #render(messages, isWhole, fresh) {
    const focused = this.#focusedIndex();
    const focusedId = this.#messages[focused]?.id;
    const ids = new Set(messages.map(({ id }) => id));
    for (const { id } of this.#messages) if (!ids.has(id)) this.#heights.forget(id);
    this.#messages = messages;
    this.#isWhole = isWhole;
    this.#arrange(messages.findIndex(({ id }) => id === focusedId), fresh);
    if (focused < 0 || this.#focusedIndex() >= 0) return;
    const at = messages.findIndex(({ id }) => id === focusedId); // its article was replaced, or the message is gone
    this.#focus(at >= 0 ? at : Math.min(focused, messages.length - 1));
  }

  /** Something was scrolled or resized. */
  look = () => this.#arrange(this.#focusedIndex());

  /** Update the relative times. */
  age() {
    for (const { article } of this.#views.values()) this.#age.refresh(/** @type {HTMLTimeElement} */ (article.querySelector("time")));
    if (this.#byDay) this.look(); // it may be another day now
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
    if (this.#byDay) this.#head(view.article, at);
    view.article.setAttribute("aria-posinset", String(at + 1));
    view.article.setAttribute("aria-setsize", String(this.#isWhole ? this.#messages.length : -1));
    return view.article;
  }

  /** Give row `at` the heading of its day, if the row before it is of another day. @param {HTMLElement} article @param {number} at */
  #head(article, at) {
    const [day, before] = [this.#messages[at], this.#messages[at - 1]].map((message) => message && this.#age.day(message.time));
    if (day === before) delete article.dataset.day;
    else if (article.dataset.day !== day) article.dataset.day = day;
  }

  /** @param {Message} message @param {MessageView | undefined} former @param {Set<string>} fresh */
  #make(message, former, fresh) {
    const view = new MessageView(message, this.#texts, this.#age, this.#feed);
    if (fresh.has(message.id)) view.article.classList.add("new");
    for (const end of ["animationend", "animationcancel"]) view.article.addEventListener(end, () => view.article.classList.remove("new")); // not again at the next opening
    view.expand(former?.isWhole ?? false);
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
      if (px > 0) this.#views.get(id)?.measured();
      if (px > 0 && this.#heights.set(id, px)) this.#arrangeSoon(); // 0: the panel is closed
    }
  }

  /** In the next frame: a size observer that inserts rows would call itself. */
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
    article?.scrollIntoView({ block: "nearest" }); // again, because a row above may have collapsed when it lost the focus
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
