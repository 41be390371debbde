// `<belfry-feed>` and `<belfry-message>`.

import { Bell } from "./bell.js";
import { BelfryClient } from "./client.js";
import { element, safeUrl } from "./markup.js";
import { Age, MessageView } from "./message_view.js";
import { FeedModel } from "./model.js";
import { FeedPanel } from "./panel.js";
import { Refusal } from "./server.js";
import { styleSheet } from "./styles.js";
import { ENGLISH, headline, language, trouble } from "./texts.js";
import { DeviceSettings, chime } from "./device_settings.js";

/** @import { Texts, Trouble } from "./texts.js" */
/** @import { Toasts } from "./toasts.js" */
/** @import { ClientOptions, Message, TabWish, TokenProvider, Wanted } from "./types.js" */

/** What the connection depends on, and what only the view depends on. */
const CONNECTION = ["server", "url", "token-url", "topics"];
const VIEW = ["events", "groups", "inline", "lang", "tabs"];
const PANEL_PX = 640; // the panel's height where there is room
const LOW_PX = 320; // with less room than this below the bell, the panel opens upwards if there is more above
const GAP_PX = 8; // between bell and panel
const EDGE_PX = 8; // between panel and window
const AGE_MS = 30_000; // how often relative times are written anew
const ROUTED_MS = [0, 300]; // after a click, a page that navigates by a router has done so by then

/** Tells of navigations within the page, where the browser has it. @type {EventTarget | undefined} */
const history_ = Reflect.get(globalThis, "navigation");

/** @type {typeof import("./custom_tabs.js").tabsOf | undefined} */ let tabsOf;

/** Servers that render pages import this module too, and have no elements. */
const Element = globalThis.HTMLElement ?? /** @type {typeof HTMLElement} */ (class {});

/** A bell with an unread badge, and its feed in a panel. docs/embedding.md lists its attributes, properties and events. */
export class BelfryFeed extends Element {
  static observedAttributes = [...CONNECTION, ...VIEW];
  /** @type {string | TokenProvider | undefined} */ #token;
  /** @type {string[] | undefined} */ #topics;
  /** @type {string | TabWish[] | undefined} */ #tabs;
  /** @type {Partial<Texts>} */ #texts = {};
  /** What the element itself uses. @type {BelfryClient | null} */ client = null;
  #root = this.attachShadow({ mode: "open" });
  /** @type {FeedModel | null} */ #model = null;
  /** @type {FeedPanel | null} */ #panel = null;
  /** @type {Bell | null} */ #bell = null;
  /** @type {Toasts | null} */ #toasts = null;
  #words = ENGLISH;
  #live = element("p", { class: "unseen", "aria-live": "polite" });
  /** @type {Set<string>} */ #fresh = new Set();
  #timer = 0;
  #isDue = false;
  /** @type {Trouble | null} */ #trouble = null;
  #isChanging = false;
  #isStale = false; // the connection has to be made anew
  #renamed = globalThis.MutationObserver && new MutationObserver(() => this.#changeSoon(false)); // the page's language changed

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
  }

  connectedCallback() {
    this.#takeOver();
    this.#start();
    this.#timer = setInterval(() => this.#panel?.age(), AGE_MS);
    document.addEventListener("pointerdown", this.#onPointerDown);
    addEventListener("resize", this.#placePanel);
    addEventListener("popstate", this.#onNavigation);
    this.#renamed.observe(document.documentElement, { attributeFilter: ["lang"] });
    history_?.addEventListener("currententrychange", this.#onNavigation);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
    document.removeEventListener("pointerdown", this.#onPointerDown);
    removeEventListener("resize", this.#placePanel);
    removeEventListener("popstate", this.#onNavigation);
    this.#renamed.disconnect();
    history_?.removeEventListener("currententrychange", this.#onNavigation);
    this.#stop();
  }

  /** @param {string} name @param {string | null} before @param {string | null} after */
  attributeChangedCallback(name, before, after) {
    if (before === after || !this.#model) return;
    if (name === "events") this.client?.listen(words(after) ?? []);
    else this.#changeSoon(CONNECTION.includes(name));
  }

  get token() {
    return this.#token;
  }

  set token(token) {
    if (token === this.#token) return;
    this.#token = token;
    this.#changeSoon(true);
  }

  get topics() {
    return this.#topics ?? words(this.getAttribute("topics"));
  }

  set topics(topics) {
    if (topics === this.#topics) return;
    this.#topics = topics;
    this.#changeSoon(true);
  }

  get tabs() {
    return this.#tabs ?? this.getAttribute("tabs") ?? undefined;
  }

  set tabs(tabs) {
    if (tabs === this.#tabs) return;
    this.#tabs = tabs;
    this.#changeSoon(false);
  }

  get texts() {
    return this.#texts;
  }

  set texts(texts) {
    if (texts === this.#texts) return;
    this.#texts = texts ?? {};
    this.#changeSoon(false);
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

  /** Properties that a page set before this class was known hide the accessors: set them again. */
  #takeOver() {
    for (const name of /** @type {const} */ (["tabs", "token", "topics", "texts"])) {
      if (!Object.hasOwn(this, name)) continue;
      const { [name]: value } = this;
      delete this[name];
      Object.assign(this, { [name]: value });
    }
  }

  #start() {
    this.client = this.#connect();
    this.#model = new FeedModel(this.client, () => this.#renderSoon());
    this.#build(this.client, this.#model);
    this.#model.open();
  }

  #stop() {
    this.#clear();
    this.#model?.close();
    this.#model = null;
  }

  #clear() {
    this.#panel?.close();
    this.#toasts?.close();
    this.#root.replaceChildren();
  }

  /** Once for all attributes and properties that change in this turn. @param {boolean} isConnection else only the view */
  #changeSoon(isConnection) {
    if (!this.#model) return; // it is not in the page yet
    this.#isStale ||= isConnection;
    if (this.#isChanging) return;
    this.#isChanging = true;
    queueMicrotask(() => {
      this.#isChanging = false;
      this.#change();
    });
  }

  #change() {
    const wasOpen = this.isOpen;
    const isStale = this.#isStale;
    this.#isStale = false;
    if (!this.#model || !this.client) return;
    if (isStale) {
      this.#stop();
      this.#start();
    } else {
      this.#clear();
      this.#build(this.client, this.#model);
    }
    if (this.client) this.#follow(this.client);
    if (wasOpen) this.open();
    this.#renderSoon();
  }

  #connect() {
    const { token } = this;
    const options = {
      url: this.getAttribute("server") ?? this.getAttribute("url") ?? undefined,
      token: typeof token === "string" ? () => token : token,
      tokenUrl: this.getAttribute("token-url") ?? undefined,
      topics: this.topics,
    };
    const client = BelfryFeed.#clientOf(options);
    client.listen(words(this.getAttribute("events")) ?? []);
    client.on("*", (message) => this.#onMessage(message));
    client.on("removed", ({ ids }) => this.#toasts?.clear(ids));
    client.on("unread", (unread) => {
      this.#announce("unread", { unread });
      this.#renderSoon();
    });
    client.on("state", (state) => {
      this.#announce("state", { state, reason: client.reason });
      this.#follow(client);
      if (state === "live" && globalThis.Notification?.permission === "granted") this.#push(({ renewPush }) => renewPush(client.server));
      this.#renderSoon();
    });
    client.on("error", (problem) => this.#announce("error", problem));
    return client;
  }

  /** With an address that is none, the client refuses every call for that reason. @param {ClientOptions} options @returns {BelfryClient} */
  static #clientOf(options) {
    try {
      return new BelfryClient(options);
    } catch (error) {
      const token = () => Promise.reject(new Refusal(0, { code: "address_malformed", detail: /** @type {Error} */ (error).message }));
      return BelfryFeed.#clientOf({ token, url: options.url === undefined ? "https://belfry.invalid" : undefined });
    }
  }

  /** An attempt to connect again ends no trouble: its notice stays until that succeeds. @param {BelfryClient} client */
  #follow(client) {
    const { state, reason, isConnected, usesTokens } = client;
    if (isConnected || state === "idle") this.#trouble = null;
    else if (state !== "connecting") this.#trouble = trouble(state, reason, usesTokens, this.#words);
    if (client.isSignedOut) this.#toasts?.clear();
  }

  /** @param {BelfryClient} client @param {FeedModel} model */
  #build(client, model) {
    const { lang, texts, coming } = language(this);
    coming?.then(() => this.#changeSoon(false), () => {}); // without its module the texts stay English
    this.#words = { ...texts, ...this.texts };
    const inline = this.hasAttribute("inline");
    this.#defineTabs(model);
    this.#panel = new FeedPanel(model, client, this.#wanted(model, client), lang, this.#words, inline ? null : () => this.close(), this.getAttribute("groups") === "day");
    this.#panel.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
    this.#panel.root.addEventListener("click", this.#onLink);
    if (lang.startsWith("ar")) this.#panel.root.dir = "rtl";
    this.#bell = inline ? null : new Bell(this.#words, () => (this.isOpen ? this.close() : this.open()));
    this.#toasts = null;
    this.#root.append(...(this.#bell ? [this.#bell.root] : []), this.#panel.root, this.#live);
  }

  /** The module of tabs that a page defines is loaded with the first of them. @param {FeedModel} model */
  #defineTabs(model) {
    if (this.tabs === undefined) return model.setTabs();
    if (tabsOf) return model.setTabs(tabsOf(this.tabs));
    import("./custom_tabs.js").then((module) => {
      ({ tabsOf } = module);
      this.#changeSoon(false);
    }, () => {}); // without its module there are the usual tabs
  }

  /** @param {FeedModel} model @param {BelfryClient} client @returns {Wanted} */
  #wanted(model, client) {
    const failed = () => this.#panel?.failed();
    return {
      mark: (message, read) => model.mark(message, read).catch(failed),
      archive: (message, archived) => model.archive(message, archived).catch(failed),
      remove: (message) => model.remove(message).catch(failed),
      announce: (name, detail) => this.#announce(name, detail),
      settings: (root) => this.#push(({ addPushSetting }) => addPushSetting(root, client.server, this.#words)),
    };
  }

  /** Without Web Push the setting is missing. @param {(module: typeof import("./push_setting.js")) => Promise<void>} use */
  #push(use) {
    if (this.hasAttribute("push")) import("./push_setting.js").then(use).catch(() => {});
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
    this.#bell?.render(this.unread, this.isOpen, this.#trouble);
    this.#panel?.render(this.#fresh, this.#trouble);
    this.#fresh.clear();
  }

  /** @param {Message} message */
  #onMessage(message) {
    this.#fresh.add(message.id);
    if (!this.#announce("message", { message })) return;
    this.#live.textContent = this.#words.arrived(headline(message, this.#words));
    import("./notify.js").then(({ inOneTab }) => inOneTab(message.id, () => this.#notify(message)), () => {}); // without its module there is the badge
  }

  /** @param {Message} message */
  #notify(message) {
    if (this.hasAttribute("no-toasts")) return;
    if (DeviceSettings.has("sound")) chime();
    if (document.hidden) this.#notifyDesktop(message);
    else if (!this.isOpen) this.#toast(message).catch(() => {}); // without its module there is the badge
  }

  /** Its module is loaded with the first one. @param {Message} message */
  async #toast(message) {
    const { Toasts } = await import("./toasts.js");
    if (!this.#model) return; // it left the page meanwhile
    if (this.#toasts === null) {
      this.#toasts = new Toasts(this.#root, this.#words, (clicked) => this.#onToastClick(clicked));
    }
    this.#toasts.show(message);
  }

  /** @param {Message} message */
  async #notifyDesktop(message) {
    if (!DeviceSettings.has("desktop")) return;
    const { showNotification } = await import("./notify.js");
    const body = (message.title && message.body) ?? "";
    const isPossible = showNotification(headline(message, this.#words), { body, tag: message.id }, () => {
      focus();
      this.open();
    });
    if (!isPossible) this.#panel?.showWishes();
  }

  /** @param {Message} message */
  #onToastClick(message) {
    this.#model?.mark(message, true).catch(() => this.#panel?.failed());
    if (this.#announce("open", { message }) && !safeUrl(message.url)) this.open();
  }

  /** A page that navigates without loading leaves the panel where it is. Not every browser tells when it does. */
  #onLink = (/** @type {MouseEvent} */ event) => {
    const link = event.composedPath().find((target) => target instanceof HTMLAnchorElement);
    if (link && link.target !== "_blank" && !event.ctrlKey && !event.metaKey && !event.shiftKey) return this.close();
    const { href } = location;
    for (const ms of ROUTED_MS) setTimeout(() => location.href === href || this.#hide(), ms);
  };

  /** The page shows something else now. */
  #onNavigation = (/** @type {Event & {navigationType?: string | null}} */ { navigationType = "traverse" }) => {
    if (navigationType === "push" || navigationType === "traverse") this.#hide();
  };

  /** As `close`, without moving the focus. */
  #hide() {
    if (!this.#bell || !this.isOpen) return;
    this.#panel?.root.hidePopover();
    this.#renderSoon();
  }

  #onPointerDown = (/** @type {PointerEvent} */ event) => {
    if (!event.composedPath().includes(this)) this.#hide();
  };

  /** Below the bell, or above it where there is more room; inside the window. */
  #placePanel = () => {
    if (!this.#bell || !this.#panel || !this.isOpen) return;
    const { top, bottom, left, right } = this.#bell.root.getBoundingClientRect();
    const { style, offsetWidth } = this.#panel.root;
    const wanted = this.matches(":dir(rtl)") ? left : right - offsetWidth;
    const above = top - GAP_PX - EDGE_PX;
    const below = innerHeight - bottom - GAP_PX - EDGE_PX;
    const opensUp = below < LOW_PX && above > below;
    const room = Math.max(opensUp ? above : below, Math.min(LOW_PX, innerHeight - 2 * EDGE_PX)); // in a low window it covers the bell
    const height = Math.max(0, Math.min(PANEL_PX, room));
    const place = opensUp ? top - GAP_PX - height : bottom + GAP_PX;
    style.setProperty("--_height", `${Math.round(height)}px`);
    style.setProperty("--_top", `${Math.round(Math.max(EDGE_PX, Math.min(place, innerHeight - height - EDGE_PX)))}px`);
    style.setProperty("--_left", `${Math.round(Math.max(EDGE_PX, Math.min(wanted, innerWidth - offsetWidth - EDGE_PX)))}px`);
  };
}

/** One message as the feed shows it, without its functions: set its property `message`. */
export class BelfryMessage extends Element {
  #root = this.attachShadow({ mode: "open" });

  constructor() {
    super();
    this.#root.adoptedStyleSheets = [styleSheet()];
  }

  /** @param {Message} message */
  set message(message) {
    const { lang, texts, coming } = language(this);
    coming?.then(() => { this.message = message; }, () => {});
    this.#show(message, lang, texts);
  }

  /** @param {Message} message @param {string} lang @param {Texts} texts */
  #show(message, lang, texts) {
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
for (const [name, made] of /** @type {const} */ ([["belfry-feed", BelfryFeed], ["belfry-message", BelfryMessage]])) {
  if (globalThis.customElements && !customElements.get(name)) customElements.define(name, made);
}
