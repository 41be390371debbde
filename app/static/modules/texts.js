// The element's texts in each language.

/** @import { Message, State } from "./types.js" */

export const TEXTS = {
  en: {
    title: "Notifications",
    bell: (/** @type {number} */ count) => (count ? `Notifications, ${count} unread` : "Notifications"),
    all: "All",
    unread: "Unread",
    archived: "Archived",
    readAll: "Mark all as read",
    settings: "Settings",
    close: "Close",
    sound: "Play a sound",
    desktop: "Notify on the desktop",
    desktopDenied: "The browser does not show desktop notifications for this site.",
    markRead: "Mark as read",
    markUnread: "Mark as unread",
    archive: "Archive",
    unarchive: "Move back",
    remove: "Remove",
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
  },
  zh: {
    title: "通知",
    bell: (/** @type {number} */ count) => (count ? `通知，${count} 条未读` : "通知"),
    all: "全部",
    unread: "未读",
    archived: "已归档",
    readAll: "全部标为已读",
    settings: "设置",
    close: "关闭",
    sound: "播放提示音",
    desktop: "桌面通知",
    desktopDenied: "浏览器不显示本网站的桌面通知。",
    markRead: "标为已读",
    markUnread: "标为未读",
    archive: "归档",
    unarchive: "移回",
    remove: "删除",
    message: "消息",
    arrived: (/** @type {string} */ title) => `新消息：${title}`,
    info: "信息",
    success: "成功",
    warning: "警告",
    error: "错误",
    loading: "加载中…",
    emptyAll: "还没有消息",
    emptyAllHint: "发给您的消息会立即显示在这里。",
    emptyUnread: "没有未读消息",
    emptyUnreadHint: "您已读完所有消息。",
    emptyArchived: "没有归档消息",
    emptyArchivedHint: "归档的消息保存在这里。",
    failed: "无法加载消息。",
    changeFailed: "更改未能保存，已撤销。",
    retry: "重试",
    waiting: "连接已断开，正在重试…",
    replaced: "打开的页面过多，此处已暂停。",
    resume: "在此继续",
    disconnected: "管理员已断开连接。",
    reconnect: "重新连接",
    revoked: "您的访问权限已被撤销。",
    signedOut: "您已退出登录。",
    unavailable: "此页面无法使用通知。",
    offline: "未连接",
    now: "刚刚",
  },
};
/** @typedef {typeof TEXTS.en} Texts */

/** The line that a person reads first. @param {Message} message @param {Texts} texts */
export const headline = (message, texts) => [message.title, message.body, message.event].find((text) => text?.trim()) ?? texts.message;

/** The language that holds for `element`, and the texts in it. @param {Element} element */
export function language(element) {
  return choose([element.closest("[lang]")?.getAttribute("lang") ?? "", ...(navigator.languages ?? [navigator.language])]);
}

/**
 * The first of `tags` that is a language, and the texts in it. A language without texts becomes English, its times too.
 * @param {readonly string[]} tags @returns {{lang: string, texts: Texts}}
 */
export function choose(tags) {
  const lang = tags.map(canonical).find((tag) => tag !== null) ?? "en";
  const [name] = lang.split("-");
  if (name === "zh") return { lang, texts: TEXTS.zh };
  return { lang: name === "en" ? lang : "en", texts: TEXTS.en };
}

/**
 * A language tag as `Intl` accepts it, or null. Pages and systems also write `en_US`, `de_DE.UTF-8` and `C`.
 * @param {string} tag
 */
export function canonical(tag) {
  try {
    return Intl.getCanonicalLocales(tag.replace(/[.@].*$/, "").replaceAll("_", "-"))[0] ?? null;
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
