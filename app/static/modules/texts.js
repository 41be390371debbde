// The element's texts in each language.

/** @import { Message } from "./types.js" */

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
    desktopDenied: "The browser blocks desktop notifications for this site.",
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
    changeFailed: "That did not work. Try again.",
    retry: "Try again",
    waiting: "No connection. Trying again…",
    stopped: "Open in too many places. This one is paused.",
    resume: "Continue here",
    denied: "You are signed out.",
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
    desktopDenied: "浏览器阻止了本网站的桌面通知。",
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
    changeFailed: "操作失败，请重试。",
    retry: "重试",
    waiting: "连接已断开，正在重试…",
    stopped: "打开的页面过多，此处已暂停。",
    resume: "在此继续",
    denied: "您已退出登录。",
    now: "刚刚",
  },
};
/** @typedef {typeof TEXTS.en} Texts */

/** The line that a person reads first. @param {Message} message @param {Texts} texts */
export const headline = (message, texts) => message.title ?? message.body ?? message.event ?? texts.message;

/** The language that holds for `element`, and the texts in it. @param {Element} element */
export function language(element) {
  const lang = element.closest("[lang]")?.getAttribute("lang") || navigator.language;
  return { lang, texts: lang.startsWith("zh") ? TEXTS.zh : TEXTS.en };
}
