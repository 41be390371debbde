// Messages that arrive while the feed is closed.

import { element, icon, iconButton, link, safeUrl } from "./markup.js";
import { styleSheet } from "./styles.js";
import { headline } from "./texts.js";

/** @import { Texts } from "./texts.js" */
/** @import { Message } from "./types.js" */

const STYLES = `
.toasts { inset: auto 1rem 1rem auto; display: flex; flex-direction: column; gap: 0.6rem; width: min(22rem, 100vw - 2rem); margin: 0; padding: 0; overflow: visible; border: 0; background: none; color: var(--_ink); }
.toasts:dir(rtl) { inset: auto auto 1rem 1rem; }
.toasts:not(:popover-open) { display: none; }
.toast { position: relative; display: grid; grid-template-columns: auto 1fr auto; gap: 0 0.75rem; padding: 0.8rem 0.6rem 0.8rem 0.9rem; border: 1px solid var(--_line); border-inline-start: 4px solid var(--_tone, var(--_accent)); border-radius: var(--_radius); background: var(--_paper); box-shadow: 0 8px 28px rgb(0 0 0 / 0.2); }
.toast h3 { font-weight: 650; }
.toast .icon-button { position: relative; z-index: 1; }
@media (prefers-reduced-motion: no-preference) {
  .toast { animation: arrive 0.25s ease-out; }
}
`;
/** @type {CSSStyleSheet | undefined} */ let SHEET;
const TOAST_MS = 6_000;
const TOASTS_MOST = 3;

/** Shows messages that arrive while the feed is closed, for a few seconds in a corner. */
export class Toasts {
  #texts;
  #open;
  #home;
  /** Holds the toasts inside a modal dialog, outside of which nothing can be clicked. @type {HTMLElement | null} */ #guest = null;

  /** @param {ShadowRoot} home @param {Texts} texts @param {(message: Message) => void} open */
  constructor(home, texts, open) {
    this.#home = home;
    SHEET ??= styleSheet(STYLES);
    if (!home.adoptedStyleSheets.includes(SHEET)) home.adoptedStyleSheets.push(SHEET);
    this.#texts = texts;
    this.#open = open;
    this.root = element("div", { class: "toasts", popover: "manual", role: "region", "aria-label": texts.title });
    document.addEventListener("toggle", this.#onToggle, true);
  }

  /** @param {Message} message */
  show(message) {
    const toast = this.#toast(message);
    const root = this.root;
    root.append(toast);
    while (root.children.length > TOASTS_MOST) root.firstChild?.remove();
    this.#raise();
    const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, TOAST_MS) : this.#dismiss(toast));
    setTimeout(leave, message.level === "error" ? 2 * TOAST_MS : TOAST_MS);
  }

  /** A dialog of the page opened or closed. */
  #onToggle = (/** @type {Event} */ { target }) => {
    if (target instanceof HTMLDialogElement && this.root.children.length > 0) this.#raise();
  };

  /** Stand above what was opened since. */
  #raise() {
    this.#place();
    this.root.hidePopover(); // a popover that is shown again is on top of those opened since
    this.root.showPopover();
  }

  /** Stand where clicks arrive: in the topmost modal dialog of the page, if there is one. */
  #place() {
    const dialog = topmostDialog();
    if (!dialog || dialog.contains(this.#home.host)) return this.#return();
    if (this.#guest?.parentNode === dialog) return;
    this.#return();
    this.#guest = element("div", { dir: getComputedStyle(this.#home.host).direction });
    const shadow = this.#guest.attachShadow({ mode: "open" });
    shadow.adoptedStyleSheets = this.#home.adoptedStyleSheets;
    shadow.append(this.root);
    dialog.append(this.#guest);
    dialog.addEventListener("close", () => this.#return(), { once: true });
  }

  #return() {
    if (this.root.parentNode === this.#home) return;
    this.#home.append(this.root);
    this.#guest?.remove();
    this.#guest = null;
    if (this.root.children.length > 0) this.root.showPopover();
  }

  /** The element leaves the page. */
  close() {
    document.removeEventListener("toggle", this.#onToggle, true);
    this.#guest?.remove();
  }

  /** Remove the toasts of the messages `ids`, by default all: they were seen elsewhere, or are gone. @param {string[]} [ids] */
  clear(ids) {
    for (const toast of [...this.root.children]) {
      if (toast instanceof HTMLElement && (!ids || ids.includes(toast.dataset.id ?? ""))) this.#dismiss(toast);
    }
  }

  /** @param {Message} message */
  #toast(message) {
    const url = safeUrl(message.url);
    const title = headline(message, this.#texts);
    /** @type {HTMLElement} */
    const toast = element(
      "div",
      { class: "toast", "data-level": message.level, "data-id": message.id },
      element("span", { class: "sign" }, icon(message.level ?? "bell")),
      element(
        "div",
        { class: "content" },
        element("h3", { dir: "auto" }, url ? link(url, title) : title),
        message.title?.trim() && message.body ? element("p", { class: "body", dir: "auto" }, message.body) : null,
      ),
      iconButton("close", this.#texts.close, (event) => {
        event.stopPropagation();
        this.#dismiss(toast);
      }),
    );
    toast.addEventListener("click", () => {
      this.#open(message);
      this.#dismiss(toast);
    });
    return toast;
  }

  /** @param {HTMLElement} toast */
  #dismiss(toast) {
    toast.remove();
    if (this.root.children.length === 0 && this.root.isConnected) this.root.hidePopover();
  }
}

/** The modal dialog that takes the clicks. Its backdrop covers the page, and it may be in a shadow tree. */
function topmostDialog() {
  let found = document.elementFromPoint(0, 0);
  while (found?.shadowRoot) {
    const inner = found.shadowRoot.elementFromPoint(0, 0);
    if (!inner || !found.shadowRoot.contains(inner)) break;
    found = inner;
  }
  const dialog = found?.closest("dialog:modal") ?? [...document.querySelectorAll("dialog:modal")].at(-1);
  return dialog instanceof HTMLDialogElement ? dialog : null;
}
