// Markdown as elements. A model's answer was written by someone else: this never makes markup out of text. The parser's
// tokens become elements and text nodes one by one, so there is no HTML to sanitize, and no Trusted Types policy to ask for.
// HTML in the text is shown as it was written; pictures are links, since a page would tell their server who reads it.

import { safeUrl } from "../belfry.js";
import { lexer } from "../vendor/marked-18.2.1/marked.esm.js";

/** @typedef {import("../vendor/marked-18.2.1/marked.esm.js").MarkedToken} Token */
/** @typedef {import("../vendor/marked-18.2.1/marked.esm.js").Tokens.List} List */
/** @typedef {import("../vendor/marked-18.2.1/marked.esm.js").Tokens.Table} Table */
/** @typedef {import("../vendor/marked-18.2.1/marked.esm.js").Tokens.TableCell} Cell */
/** @typedef {{code: string, table: string, copy: string, copied: string, notCopied: string}} Words for the reader */

const HEADING_FIRST = 3; // the page has its own above
const HEADING_LAST = 6;
const INVISIBLE = new Set(["space", "def"]);
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
const ENTITY = /&(?:#(\d{1,7})|#x([\da-f]{1,6})|(amp|lt|gt|quot|apos|nbsp));/gi;

/** A growing text, shown in `root`. What stays the same keeps its elements, and with them the reader's selection. */
export class MarkdownView {
  /** @type {string[]} */ #shown = [];

  /** @param {HTMLElement} root @param {Words} words */
  constructor(root, words) {
    this.root = root;
    this.words = words;
  }

  /** @param {string} text @param {boolean} [isWhole] a link's address may stand at the end of the text, far from the link */
  render(text, isWhole = false) {
    const blocks = blocksOf(text);
    const same = isWhole ? 0 : blocks.findIndex(({ raw }, at) => raw !== this.#shown[at]);
    if (same < 0 && blocks.length === this.#shown.length) return;
    const kept = same < 0 ? blocks.length : same;
    while (this.root.childNodes.length > kept) this.root.lastChild?.remove();
    this.root.append(...blocks.slice(kept).map((token) => node(token, this.words)));
    this.#shown = blocks.map(({ raw }) => raw);
  }
}

/** Each becomes one element. @param {string} text @returns {Token[]} */
function blocksOf(text) {
  try {
    return /** @type {Token[]} */ (lexer(text)).filter(({ type }) => !INVISIBLE.has(type));
  } catch {
    return [{ type: "text", raw: text, text, escaped: false }]; // nested so deep that the parser gives up
  }
}

/** @param {string} name @param {...(Node | string)} children */
function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

/** @param {Token[] | import("../vendor/marked-18.2.1/marked.esm.js").Token[] | undefined} tokens */
const visible = (tokens) => /** @type {Token[]} */ (tokens ?? []).filter(({ type }) => !INVISIBLE.has(type));

/** The kinds of token, as the parser has them. @param {Token} token @param {Words} words @returns {Node} */
function node(token, words) {
  const nodes = (/** @type {Parameters<typeof visible>[0]} */ tokens) => visible(tokens).map((each) => node(each, words));
  switch (token.type) {
    case "heading":
      return element(`h${Math.min(HEADING_LAST, token.depth + HEADING_FIRST - 1)}`, ...nodes(token.tokens));
    case "paragraph":
      return element("p", ...nodes(token.tokens));
    case "text":
      return token.tokens ? element("span", ...nodes(token.tokens)) : document.createTextNode(decoded(token.text));
    case "blockquote":
    case "strong":
    case "em":
    case "del":
      return element(token.type, ...nodes(token.tokens));
    case "code":
      return code(token.text, token.lang?.match(/^\S+/)?.[0] ?? "", words);
    case "codespan":
      return element("code", token.text);
    case "list":
      return list(token, words);
    case "checkbox":
      return document.createTextNode(token.checked ? "☑ " : "☐ ");
    case "table":
      return scrollable(element("div", table(token, words)), words.table);
    case "link":
      return link(token.href, nodes(token.tokens));
    case "image":
      return link(token.href, [decoded(token.text) || token.href]);
    case "hr":
    case "br":
      return element(token.type);
    case "html":
      return /^<br\s*\/?>$/i.test(token.text) ? element("br") : element(token.block ? "p" : "span", token.raw);
    case "escape":
      return document.createTextNode(token.text);
    default:
      return document.createTextNode(token.raw);
  }
}

/** A block of code, with its language and a button that copies it. @param {string} text @param {string} language @param {Words} words */
function code(text, language, words) {
  const copy = element("button", words.copy);
  Object.assign(copy, { type: "button", className: "quiet", onclick: () => write(text, copy, words) });
  const head = element("div", element("span", language), copy);
  head.className = "code-head";
  const made = element("div", head, scrollable(element("pre", element("code", text)), [words.code, language].filter(Boolean).join(", ")));
  made.className = "code-block";
  return made;
}

/** @param {string} text @param {HTMLElement} button says what came of it @param {Words} words */
async function write(text, button, words) {
  const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false); // no clipboard without https
  button.textContent = isCopied ? words.copied : words.notCopied;
}

/** @param {List} token @param {Words} words */
function list({ ordered, start, items }, words) {
  const made = element(ordered ? "ol" : "ul", ...items.map((item) => element("li", ...visible(item.tokens).map((each) => node(each, words)))));
  if (ordered && start !== 1) made.setAttribute("start", String(start));
  return made;
}

/** @param {Table} token @param {Words} words */
function table({ header, rows }, words) {
  const head = element("thead", row(header, "th", words));
  return element("table", head, element("tbody", ...rows.map((cells) => row(cells, "td", words))));
}

/** @param {Cell[]} cells @param {"th" | "td"} name @param {Words} words */
function row(cells, name, words) {
  const made = cells.map(({ tokens, align }) => {
    const cell = element(name, ...visible(tokens).map((each) => node(each, words)));
    cell.style.textAlign = align ?? "";
    return cell;
  });
  return element("tr", ...made);
}

/** What is too wide scrolls, also by keyboard. @param {HTMLElement} wide @param {string} label */
function scrollable(wide, label) {
  wide.className = "scroll";
  wide.tabIndex = 0;
  wide.role = "group";
  wide.ariaLabel = label;
  return wide;
}

/** A link if its address is http(s), otherwise only its text. @param {string} href @param {(Node | string)[]} children */
function link(href, children) {
  const url = safeUrl(href);
  if (!url) return element("span", ...children);
  const made = element("a", ...children);
  for (const [name, value] of Object.entries({ href: url.href, rel: "noopener noreferrer", target: "_blank" })) made.setAttribute(name, value);
  return made;
}

/** @param {string} text */
function decoded(text) {
  return text.replace(ENTITY, (whole, decimal, hexadecimal, name) => {
    if (name) return ENTITIES[/** @type {keyof typeof ENTITIES} */ (name.toLowerCase())];
    const code = decimal ? Number(decimal) : Number.parseInt(hexadecimal, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
