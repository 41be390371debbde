// The element's texts in each language.

/** @import { Message, State } from "./types.js" */

export const ENGLISH = {
  title: "Notifications",
  bell: (/** @type {number} */ count) => (count ? `Notifications, ${count} unread` : "Notifications"),
  all: "All",
  unread: "Unread",
  archived: "Archived",
  readAll: "Mark all as read",
  archiveAll: "Archive all",
  settings: "Settings",
  close: "Close",
  sound: "Play a sound",
  desktop: "Notify on the desktop",
  push: "Notify me on this device",
  desktopDenied: "The browser does not show desktop notifications for this site.",
  markRead: "Mark as read",
  markUnread: "Mark as unread",
  archive: "Archive",
  unarchive: "Move back",
  remove: "Remove",
  actions: "Actions",
  more: "Show more",
  less: "Show less",
  undo: "Undo",
  archivedOne: "Archived.",
  removedOne: "Removed.",
  readAllDone: "All marked as read.",
  archiveAllDone: "All archived.",
  message: "Message",
  arrived: (/** @type {string} */ title) => `New message: ${title}`,
  info: "Information",
  success: "Success",
  warning: "Warning",
  error: "Error",
  loading: "Loading…",
  emptyAll: "Nothing here yet",
  emptyAllHint: "What is sent to you shows up at once.",
  emptyUnread: "All caught up",
  emptyUnreadHint: "You have read everything.",
  emptyArchived: "Nothing archived",
  emptyArchivedHint: "Archived messages are kept here.",
  failed: "The messages could not be loaded.",
  changeFailed: "Your change could not be saved. It was undone.",
  retry: "Try again",
  waiting: "No connection. Trying again…",
  replaced: "Open in too many places. This one is paused.",
  resume: "Continue here",
  disconnected: "An administrator ended the connection.",
  reconnect: "Connect again",
  revoked: "Your access was withdrawn.",
  signedOut: "You are signed out.",
  unavailable: "Notifications are not available on this page.",
  offline: "not connected",
  now: "now",
};
/** @typedef {typeof ENGLISH} Texts */

/** The line that a person reads first. @param {Message} message @param {Texts} texts */
export const headline = (message, texts) => [message.title, message.body, message.event].find((text) => text?.trim()) ?? texts.message;

/** @typedef {{lang: string, texts: Texts}} Language the tag that `Intl` takes, and the texts */
/** Other languages than English, by their tags. @type {Map<string, Language>} */ const loaded = new Map();

/**
 * The language that holds for `element`. Where it has to be loaded it is English until then, and `coming` says when.
 * @param {Element} element @returns {Language & {coming?: Promise<unknown>}}
 */
export function language(element) {
  const lang = tagOf([element.closest("[lang]")?.getAttribute("lang") ?? "", ...(navigator.languages ?? [navigator.language])]);
  const known = loaded.get(lang);
  if (known) return known;
  if (/^en\b/.test(lang)) return { lang, texts: ENGLISH };
  const coming = import("./languages.js").then(async (languages) => loaded.set(lang, await languages.load(lang)));
  return { lang: "en", texts: ENGLISH, coming };
}

/** The first of `tags` that is a language. @param {readonly string[]} tags */
export const tagOf = (tags) => tags.map(canonical).find((tag) => tag !== null) ?? "en";

/**
 * A language tag as `Intl` accepts it, or null. Pages and systems also write `en_US`, `de_DE.UTF-8` and `C`.
 * @param {string} tag
 */
export function canonical(tag) {
  try {
    return Intl.getCanonicalLocales(tag.trim().replace(/[.@].*$/, "").replaceAll("_", "-"))[0] ?? null;
  } catch {
    return null;
  }
}

/** Codes with which a page that asked for no token of its own says that nobody is signed in. */
const SIGNED_OUT = new Set(["token_missing", "token_expired", "token_revoked", "token_unavailable"]);

/** @typedef {{said: string, again: string, isFinal: boolean}} Trouble What to tell the user, and the label of the button that tries again. */

/**
 * What is wrong with a connection, for the user.
 * @param {State} state @param {string} reason @param {boolean} hasToken whether the page gives tokens @param {Texts} texts
 * @returns {Trouble}
 */
export function trouble(state, reason, hasToken, texts) {
  if (state === "waiting") return { said: texts.waiting, again: texts.retry, isFinal: false };
  const final = (/** @type {string} */ said, again = texts.retry) => ({ said, again, isFinal: true });
  if (state === "denied") return final(!hasToken || SIGNED_OUT.has(reason) ? texts.signedOut : texts.unavailable);
  if (reason === "revoked") return final(hasToken ? texts.revoked : texts.signedOut);
  if (reason === "disconnected") return final(texts.disconnected, texts.reconnect);
  return final(texts.replaced, texts.resume);
}
