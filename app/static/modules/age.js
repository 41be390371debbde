// Relative times.

import { element } from "./markup.js";

/** @import { Texts } from "./texts.js" */

/** Times as people say them: "5 minutes ago", later a date. */
export class Age {
  #relative;
  #date;
  #now;

  /** @param {string} lang @param {Texts} texts */
  constructor(lang, texts) {
    this.#relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
    this.#date = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });
    this.#now = texts.now;
  }

  /** @param {string} time RFC 3339 */
  element(time) {
    return this.refresh(element("time", { datetime: time, title: this.#date.format(new Date(time)) }));
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
