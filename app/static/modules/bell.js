// The button with the unread badge.

import { element, icon } from "./markup.js";

/** @import { Texts } from "./texts.js" */

const BADGE_MOST = 99;

/** The bell and its badge. */
export class Bell {
  #texts;
  #badge = element("span", { class: "badge", "aria-hidden": "true" });

  /** @param {Texts} texts @param {() => void} click */
  constructor(texts, click) {
    this.#texts = texts;
    this.root = element("button", { type: "button", class: "bell", "aria-haspopup": "dialog", "aria-expanded": "false", click }, icon("bell"), this.#badge);
  }

  /** @param {number} unread @param {boolean} open */
  render(unread, open) {
    this.#badge.textContent = unread > BADGE_MOST ? `${BADGE_MOST}+` : String(unread);
    this.#badge.hidden = unread <= 0;
    this.root.setAttribute("aria-label", this.#texts.bell(unread));
    this.root.setAttribute("aria-expanded", String(open));
  }
}
