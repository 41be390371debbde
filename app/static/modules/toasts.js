// Messages that arrive while the feed is closed.

import { element, icon, iconButton, link, safeUrl } from "./markup.js";
import { headline } from "./texts.js";

/** @import { Texts } from "./texts.js" */
/** @import { Message } from "./types.js" */

const TOAST_MS = 6_000;
const TOASTS_MOST = 3;

/** Shows messages that arrive while the feed is closed, for a few seconds in a corner. */
export class Toasts {
  #texts;
  #open;

  /** @param {Texts} texts @param {(message: Message) => void} open */
  constructor(texts, open) {
    this.#texts = texts;
    this.#open = open;
    this.root = element("div", { class: "toasts", popover: "manual", role: "region", "aria-label": texts.title });
  }

  /** @param {Message} message */
  show(message) {
    const toast = this.#toast(message);
    const root = this.root;
    root.append(toast);
    while (root.children.length > TOASTS_MOST) root.firstChild?.remove();
    root.hidePopover(); // a popover that is shown again is on top of those opened since
    root.showPopover();
    const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, TOAST_MS) : this.#dismiss(toast));
    setTimeout(leave, message.level === "error" ? 2 * TOAST_MS : TOAST_MS);
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
