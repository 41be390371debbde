// The chat page's texts: English here, each other language in a file of its own that is loaded when a reader needs it.

export const ENGLISH = {
  newChat: "New chat",
  conversations: "Conversations",
  conversation: "Conversation",
  noneYet: "None yet.",
  welcome: "Ask something. The server keeps the conversation: reload the page, open it on another device, or come back later.",
  you: "You",
  answer: "Answer",
  question: "Your question",
  ask: "Ask something",
  model: "Model",
  send: "Send",
  stop: "Stop",
  attach: "Add images",
  image: "Image",
  removeImage: "Remove the image",
  noImage: "The browser cannot read this file as an image.",
  edit: "Edit",
  editing: "Your question replaces the earlier one and all that came after it.",
  cancel: "Cancel",
  again: "Ask again",
  rename: "Rename",
  title: "Title",
  save: "Save",
  remove: "Delete",
  removeQuestion: "Delete this conversation?",
  removeHint: "Its questions and answers are deleted on all your devices.",
  removedElsewhere: "This conversation was deleted on another device.",
  changedElsewhere: "Another device has continued this conversation. Look at it, and send your question again.",
  reasoning: "Reasoning",
  wantsToCall: (/** @type {string} */ name) => `The model wants to call ${name}.`,
  refused: "The model refused to answer:",
  length: "The answer reached its limit and is cut off.",
  filtered: "A content filter ended the answer.",
  stopped: "Stopped.",
  failed: "The answer could not be finished.",
  running: "An answer is being made.",
  complete: "The answer is complete.",
  ended: "The answer has ended.",
  code: "Code",
  table: "Table",
  copy: "Copy",
  copied: "Copied",
  notCopied: "The browser does not allow copying here.",
  waiting: "No connection. Trying again…",
  polling: "A proxy holds the answer back; it comes in larger pieces.",
  paused: "Open in too many places. This one is paused.",
  signedOut: "You are signed out.",
  signIn: "Sign in",
  retry: "Try again",
  resume: "Continue here",
  noServer: "No answer from the server. Try again.",
};
/** @typedef {typeof ENGLISH} Texts */

/** @type {Record<string, () => Promise<{default: Texts}>>} */
const OTHERS = {
  ar: () => import("./chat_texts_ar.js"),
  de: () => import("./chat_texts_de.js"),
  es: () => import("./chat_texts_es.js"),
  fr: () => import("./chat_texts_fr.js"),
  ja: () => import("./chat_texts_ja.js"),
  ko: () => import("./chat_texts_ko.js"),
  "pt-BR": () => import("./chat_texts_pt_br.js"),
  "zh-CN": () => import("./chat_texts_zh_cn.js"),
  "zh-TW": () => import("./chat_texts_zh_tw.js"),
};

/** Whose text runs from right to left. */
const RIGHT_TO_LEFT = new Set(["ar"]);

/** The name of the texts for a language, by its script or by itself. @param {string} tag such as `zh-HK` */
function nameOf(tag) {
  try {
    const { language, script } = new Intl.Locale(tag).maximize();
    return language === "zh" ? (script === "Hant" ? "zh-TW" : "zh-CN") : language === "pt" ? "pt-BR" : language;
  } catch {
    return "en"; // some systems name no language at all, such as "C"
  }
}

/**
 * The texts in a language, its tag and direction. English where there are none, or where they can't be loaded.
 * @param {string} tag @returns {Promise<{lang: string, dir: "ltr" | "rtl", texts: Texts}>}
 */
export async function load(tag) {
  const lang = nameOf(tag);
  const loaded = await OTHERS[lang]?.().catch(() => null);
  return loaded ? { lang, dir: RIGHT_TO_LEFT.has(lang) ? "rtl" : "ltr", texts: loaded.default } : { lang: "en", dir: "ltr", texts: ENGLISH };
}

/**
 * Put texts into the elements below `root` that name one: `data-text` is the content, `data-label` the accessible name,
 * `data-hint` the placeholder.
 * @param {ParentNode} root @param {Texts} texts
 */
export function localize(root, texts) {
  const text = (/** @type {string | undefined} */ name) => String(texts[/** @type {keyof Texts} */ (name)]);
  for (const each of root.querySelectorAll("[data-text], [data-label], [data-hint]")) {
    const { dataset } = /** @type {HTMLElement} */ (each);
    if (dataset.text) each.textContent = text(dataset.text);
    if (dataset.label) each.ariaLabel = text(dataset.label);
    if (dataset.hint) /** @type {HTMLTextAreaElement} */ (each).placeholder = text(dataset.hint);
  }
}
