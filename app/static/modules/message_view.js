// One message, and its time.

import { element, icon, iconButton, link, safeUrl } from "./markup.js";
import { headline } from "./texts.js";

/** @import { Texts } from "./texts.js" */
/** @import { Action, Message, Wanted } from "./types.js" */

const DAY_MS = 86_400_000;

/** One message as an article. */
export class MessageView {
  isWhole = false;
  #more = element("button", { type: "button", class: "text-button more", hidden: true, "aria-expanded": "false", click: () => this.#toggle() });

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
        focusout: (event) => this.#onLeave(event),
      },
      element("span", { class: "sign" }, icon(message.level ?? "bell")),
      element(
        "div",
        { class: "content" },
        element("div", { class: "line" }, this.#title(), age.element(message.time)),
        this.#body(),
        this.#tags(),
        this.#actions(),
      ),
      this.#menu(),
      this.#tools(),
    );
  }

  /** The text. Of it and of the title, the row shows the first lines until it is asked for more. */
  #body() {
    const { title, body } = this.message;
    return element("div", {}, title?.trim() && body ? element("p", { class: "body", dir: "auto" }, body) : null, this.#more);
  }

  /** The row was laid out: offer the rest of what is cut off. */
  measured() {
    const texts = [...this.article.querySelectorAll("h3, .body")];
    if (!this.isWhole) this.#more.hidden = texts.every((text) => text.scrollHeight <= text.clientHeight + 1);
  }

  /** @param {boolean} isWhole whether the whole text is shown */
  expand(isWhole) {
    this.isWhole = isWhole;
    this.article.classList.toggle("whole", isWhole);
    this.#more.hidden = !isWhole && this.#more.hidden;
    this.#more.textContent = isWhole ? this.texts.less : this.texts.more;
    this.#more.setAttribute("aria-expanded", String(isWhole));
  }

  /** On touch screens, one button for the tools. */
  #menu() {
    const menu = iconButton("menu", this.texts.actions, () => this.#choose(!this.article.classList.contains("choosing")));
    menu.classList.add("menu");
    menu.setAttribute("aria-expanded", "false");
    return menu;
  }

  /** @param {boolean} isChoosing whether the tools are shown on a touch screen */
  #choose(isChoosing) {
    this.article.classList.toggle("choosing", isChoosing);
    this.article.querySelector(".menu")?.setAttribute("aria-expanded", String(isChoosing));
  }

  /** The focus goes elsewhere. @param {FocusEvent} event */
  #onLeave({ relatedTarget }) {
    if (!(relatedTarget instanceof Node && this.article.contains(relatedTarget))) this.#choose(false);
  }

  /** Whether it still shows what `message` is. @param {Message} message */
  shows(message) {
    return this.shown === MessageView.#look(message);
  }

  /** @param {Message} message */
  static #look({ id, read, archived }) {
    return [id, Boolean(read), Boolean(archived)].join(" ");
  }

  #toggle() {
    this.expand(!this.isWhole);
    if (!this.isWhole) this.article.scrollIntoView({ block: "nearest" });
  }

  #title() {
    const url = safeUrl(this.message.url);
    const text = headline(this.message, this.texts);
    return element("h3", { dir: "auto" }, url ? link(url, text) : text);
  }

  #tags() {
    const tags = [...(this.message.topic ? [this.message.topic] : []), ...(this.message.tags ?? [])];
    return tags.length ? element("ul", { class: "tags" }, ...tags.map((tag) => element("li", { dir: "auto" }, tag))) : null;
  }

  #actions() {
    const actions = (this.message.actions ?? []).map((action) => this.#action(action));
    return actions.length ? element("div", { class: "actions" }, ...actions) : null;
  }

  /** @param {Action} action */
  #action(action) {
    const url = safeUrl(action.url);
    const made = url ? link(url, action.label, "action") : element("button", { type: "button", class: "action" }, action.label);
    made.dir = "auto";
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
    if (target.closest(".tools, .menu, .more")) return;
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

/** Times as people say them: "5 minutes ago", later a date. */
export class Age {
  #relative;
  #date;
  #lang;
  #now;

  /** @param {string} lang @param {Texts} texts */
  constructor(lang, texts) {
    this.#relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
    this.#date = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });
    this.#lang = lang;
    this.#now = texts.now;
  }

  /** The day of a message, as a heading: "Today", "Yesterday", later a date. @param {string} time RFC 3339 */
  day(time) {
    const midnight = new Date(time).setHours(0, 0, 0, 0);
    const daysAgo = Math.round((new Date().setHours(0, 0, 0, 0) - midnight) / DAY_MS); // a day may have 23 or 25 hours
    const isNamed = daysAgo === 0 || daysAgo === 1;
    const said = isNamed
      ? new Intl.RelativeTimeFormat(this.#lang, { numeric: "auto" }).format(-daysAgo, "day")
      : new Intl.DateTimeFormat(this.#lang, { dateStyle: "full" }).format(midnight);
    return said.charAt(0).toLocaleUpperCase(this.#lang) + said.slice(1);
  }

  /** @param {string} time RFC 3339 */
  element(time) {
    return this.refresh(element("time", { dir: "auto", datetime: time, title: this.#date.format(new Date(time)) }));
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
