// `<belfry-feed>` and `<belfry-message>`.

import { Age } from "./age.js";
import { Bell } from "./bell.js";
import { BelfryClient } from "./client.js";
import { element, safeUrl } from "./markup.js";
import { MessageView } from "./message_view.js";
import { FeedModel } from "./model.js";
import { FeedPanel } from "./panel.js";
import { Refusal } from "./server.js";
import { styleSheet } from "./styles.js";
import { TEXTS, headline, language } from "./texts.js";
import { Toasts } from "./toasts.js";
import { Wishes, chime, inOneTab } from "./wishes.js";

/** @import { Texts } from "./texts.js" */
/** @import { Message, Wanted } from "./types.js" */

const AGE_MS = 30_000; // how often relative times are written anew

/**
 * A bell with an unread badge, and its feed in a panel; with the attribute `inline` the feed alone, as a part of the page.
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

  /** Render once for all changes of this turn. Not by animation frames: a hidden tab has none. */
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

/** One message as the feed shows it, without its functions: set its property `message`. */
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

/** @param {string | null} text @returns {string[] | undefined} */
const words = (text) => text?.split(/[\s,]+/).filter(Boolean);

// A page may load Belfry from two addresses: the first one defines the elements.
if (!customElements.get("belfry-feed")) customElements.define("belfry-feed", BelfryFeed);
if (!customElements.get("belfry-message")) customElements.define("belfry-message", BelfryMessage);
