// The button with the unread badge.

import { element, icon } from "./markup.js";

/** @import { Texts, Trouble } from "./texts.js" */

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

  /** @param {number} unread @param {boolean} open @param {Trouble | null} trouble a bell that is not connected looks so */
  render(unread, open, trouble) {
    this.#badge.textContent = unread > BADGE_MOST ? `${BADGE_MOST}+` : String(unread);
    this.#badge.hidden = unread <= 0;
    this.root.toggleAttribute("data-off", trouble !== null);
    if (trouble?.isFinal) this.root.dataset.off = "final";
    this.root.title = trouble?.said ?? "";
    this.root.setAttribute("aria-label", [this.#texts.bell(unread), ...(trouble ? [this.#texts.offline] : [])].join(", "));
    this.root.setAttribute("aria-expanded", String(open));
  }
}
