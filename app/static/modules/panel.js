// The panel with the feed.

import { ListView } from "./list_view.js";
import { element, icon, iconButton } from "./markup.js";
import { DeviceSettings, askToNotify, chime, mayNotify } from "./device_settings.js";

/** @import { BelfryClient } from "./client.js" */
/** @import { Done, FeedModel } from "./model.js" */
/** @import { Texts, Trouble } from "./texts.js" */
/** @import { CustomTab, Wanted } from "./types.js" */

const FAILURE_MS = 10_000; // how long the panel says that a change failed
const UNDO_MS = 10_000; // how long it offers to undo one

/** The tabs above the list, as the ARIA pattern describes them: arrow keys move the focus, and the focused tab is shown. */
class TabsView {
  #buttons;
  #count = element("span", { "aria-hidden": "true" });

  /** @param {Texts} texts @param {CustomTab[]} tabs @param {(tab: string) => void} show */
  constructor(texts, tabs, show) {
    const named = /** @type {Record<string, string>} */ ({ all: texts.all, unread: texts.unread, archived: texts.archived });
    this.#buttons = tabs.map(({ name, label }) =>
      element("button", { type: "button", role: "tab", "data-tab": name, "aria-controls": "list", click: () => show(name) }, label ?? named[name] ?? name, name === "unread" ? this.#count : null),
    );
    this.root = element("div", { class: "tabs", role: "tablist", "aria-label": texts.title, keydown: (event) => this.#onKey(event) }, ...this.#buttons);
  }

  /** @param {string} chosen @param {number} unread */
  render(chosen, unread) {
    for (const button of this.#buttons) {
      const selected = button.dataset.tab === chosen;
      button.setAttribute("aria-selected", String(selected));
      button.tabIndex = selected ? 0 : -1;
    }
    this.#count.textContent = String(unread);
    this.#count.hidden = unread <= 0;
  }

  focus() {
    this.#buttons.find((button) => button.tabIndex === 0)?.focus();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const forward = this.root.matches(":dir(rtl)") ? -1 : 1;
    const at = this.#buttons.findIndex((button) => button.tabIndex === 0);
    const to = { ArrowRight: at + forward, ArrowLeft: at - forward, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const button = this.#buttons.at(to % this.#buttons.length);
    button?.click();
    button?.focus();
  }
}

/** The user's settings: a sound, and desktop notifications, for which the browser asks. */
class SettingsView {
  #texts;
  /** @type {Map<"sound" | "desktop", HTMLInputElement>} */ #boxes = new Map();
  #blocked = element("p", { role: "status" });

  /** @param {Texts} texts */
  constructor(texts) {
    this.#texts = texts;
    this.root = element("div", { class: "settings", hidden: true }, this.#toggle("sound", texts.sound), this.#toggle("desktop", texts.desktop), this.#blocked);
  }

  render() {
    for (const [name, box] of this.#boxes) box.checked = DeviceSettings.has(name);
  }

  /** @param {"sound" | "desktop"} name @param {string} label */
  #toggle(name, label) {
    const box = element("input", { type: "checkbox", name, change: () => this.#wish(name, box) });
    box.checked = DeviceSettings.has(name);
    this.#boxes.set(name, box);
    return element("label", {}, box, label);
  }

  /** @param {"sound" | "desktop"} name @param {HTMLInputElement} box */
  async #wish(name, box) {
    if (name === "sound") box.checked &&= chime();
    if (name === "desktop") await this.#askForNotifications(box);
    DeviceSettings.set(name, box.checked);
  }

  /** @param {HTMLInputElement} box */
  async #askForNotifications(box) {
    if (box.checked && mayNotify() === null) await askToNotify();
    const isBlocked = box.checked && mayNotify() !== true;
    if (isBlocked) box.checked = false;
    this.#blocked.textContent = isBlocked ? this.#texts.desktopDenied : "";
  }
}

/** The feed: head, tabs, list, and what to show when the list is empty. */
export class FeedPanel {
  #texts;
  #model;
  #client;
  #tabs;
  #settings;
  #list;
  #readAll;
  #archiveAll;
  #notice = element("div", { class: "notice", role: "status", hidden: true });
  #blank = element("div", { class: "blank", hidden: true });
  #end = element("div", { class: "end" });
  #alert = element("p", { class: "failure", role: "alert" });
  #done = element("div", { class: "done", role: "status", hidden: true });
  /** @type {Done | null} */ #offered = null;
  #withdrawing = 0;
  #forgetting = 0;
  #said = "";

  /**
   * @param {FeedModel} model @param {BelfryClient} client @param {Wanted} wanted @param {string} lang @param {Texts} texts
   * @param {(() => void) | null} close null where the feed is part of the page
   * @param {boolean} byDay whether the list is grouped by day
   */
  constructor(model, client, wanted, lang, texts, close, byDay) {
    this.#texts = texts;
    this.#model = model;
    this.#client = client;
    this.#tabs = new TabsView(texts, model.tabs, (tab) => model.show(tab));
    this.#settings = new SettingsView(texts);
    this.#list = new ListView(wanted, lang, texts, () => this.#tabs.focus(), () => this.#isSeen && model.more(), byDay);
    this.#readAll = iconButton("checks", texts.readAll, () => model.markAll().catch(() => this.failed()));
    this.#archiveAll = iconButton("archive", texts.archiveAll, () => model.archiveAll().catch(() => this.failed()));
    this.root = element(
      "section",
      { class: "panel", role: close ? "dialog" : "region", "aria-labelledby": "title", popover: close ? "manual" : undefined },
      this.#head(close, wanted),
      this.#tabs.root,
      this.#settings.root,
      this.#notice,
      this.#alert,
      this.#done,
      element("div", { class: "list", id: "list", role: "tabpanel", "aria-label": texts.title, tabindex: "-1", scroll: this.#list.look }, this.#list.root, this.#blank, this.#end),
    );
  }

  /** @param {Set<string>} fresh ids of messages that just came @param {Trouble | null} trouble */
  render(fresh, trouble) {
    const { messages, tab } = this.#model;
    const { unread } = this.#client;
    this.#tabs.render(tab, unread);
    this.#list.root.hidden = messages.length === 0;
    this.#list.render(messages, this.#model.isWhole, fresh);
    this.#readAll.hidden = unread === 0;
    this.#archiveAll.hidden = messages.length === 0 || tab === "archived";
    this.#renderBlank(trouble);
    this.#renderNotice(trouble);
    this.#renderDone();
    this.#renderEnd();
  }

  /** Offer to undo the latest change, for a while. */
  #renderDone() {
    const { done } = this.#model;
    this.#done.hidden = done === null;
    if (done === this.#offered) return;
    this.#offered = done;
    clearTimeout(this.#withdrawing);
    if (!done) return;
    const said = { archive: this.#texts.archivedOne, archiveAll: this.#texts.archiveAllDone, remove: this.#texts.removedOne, readAll: this.#texts.readAllDone }[done.what];
    const undo = this.#button(this.#texts.undo, () => this.#model.undo().catch(() => this.failed()));
    this.#done.replaceChildren(said, undo);
    this.#withdrawing = setTimeout(() => {
      this.#model.done = null;
      this.#renderDone();
    }, UNDO_MS);
  }

  get #isSeen() {
    return this.root.getClientRects().length > 0;
  }

  age() {
    this.#list.age();
  }

  focus() {
    this.#tabs.focus();
  }

  /** A setting was changed elsewhere than in its box. */
  showWishes() {
    this.#settings.render();
  }

  /** A change that the user made failed. */
  failed() {
    this.#alert.textContent = this.#texts.changeFailed;
    clearTimeout(this.#forgetting);
    this.#forgetting = setTimeout(() => this.#alert.replaceChildren(), FAILURE_MS);
  }

  close() {
    clearTimeout(this.#forgetting);
    clearTimeout(this.#withdrawing);
    this.#list.close();
  }

  /** @param {(() => void) | null} close @param {Wanted} wanted */
  #head(close, wanted) {
    const settings = iconButton("settings", this.#texts.settings, () => {
      this.#settings.root.hidden = !this.#settings.root.hidden;
      settings.setAttribute("aria-expanded", String(!this.#settings.root.hidden));
    });
    settings.setAttribute("aria-expanded", "false");
    settings.addEventListener("click", () => wanted.settings?.(this.#settings.root), { once: true });
    const title = element("h2", { id: "title" }, this.#texts.title);
    return element("div", { class: "head" }, title, this.#readAll, this.#archiveAll, settings, close ? iconButton("close", this.#texts.close, close) : null);
  }

  /** @param {Trouble | null} trouble */
  #renderBlank(trouble) {
    const { messages, state, tab } = this.#model;
    this.#blank.hidden = messages.length > 0 || Boolean(trouble?.isFinal);
    const texts = this.#texts;
    const said = /** @type {Record<string, string[]>} */ ({
      unread: [texts.emptyUnread, texts.emptyUnreadHint],
      archived: [texts.emptyArchived, texts.emptyArchivedHint],
    });
    const [title = "", hint = ""] = said[tab] ?? [texts.emptyAll, texts.emptyAllHint];
    this.#fill(this.#blank, state === "loaded" ? tab : state, () => {
      if (state === "loading") return [texts.loading];
      if (state === "failed") return [icon("error"), texts.failed, this.#button(texts.retry, () => this.#model.reload())];
      return [icon(tab === "unread" ? "success" : tab === "archived" ? "archive" : "bell"), element("strong", {}, title), hint];
    });
  }

  /** Below the list: older messages are loading, or could not be loaded. */
  #renderEnd() {
    const { messages, state } = this.#model;
    this.#fill(this.#end, messages.length === 0 ? "loaded" : state, () => {
      if (messages.length === 0 || state === "loaded") return [];
      if (state === "loading") return [this.#texts.loading];
      return [this.#texts.failed, this.#button(this.#texts.retry, () => this.#model.retry())];
    });
  }

  /**
   * Replace the content of a part of the panel, unless it says the same already. A click on a button is lost when the
   * button is replaced while it is pressed.
   * @param {HTMLElement} part @param {string} said names the content @param {() => (Node | string)[]} make
   */
  #fill(part, said, make) {
    if (part.dataset.said === said) return;
    part.dataset.said = said;
    part.replaceChildren(...make());
  }

  /** @param {Trouble | null} trouble */
  #renderNotice(trouble) {
    const said = trouble?.said ?? "";
    this.#notice.hidden = trouble === null;
    if (this.#said === said) return;
    this.#said = said;
    this.#notice.dataset.final = String(Boolean(trouble?.isFinal));
    this.#notice.replaceChildren(...(trouble ? [said, this.#button(trouble.again, () => this.#client.resume())] : []));
  }

  /** @param {string} label @param {() => void} click */
  #button(label, click) {
    return element("button", { type: "button", class: "text-button", click }, label);
  }
}
