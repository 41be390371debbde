// A question and an answer, as the chat page shows them.

/** @import { BelfryRun } from "../belfry.js" */
/** @import { Texts } from "./chat_texts.js" */
/** @import { Content, ToolCall, Turn } from "./conversations.js" */

import { button, element } from "./dom.js";
import { picture } from "./images.js";
import { MarkdownView } from "./markdown.js";

const NEAR_END_PX = 80; // a reader who scrolled further up is not moved

/** The text of a question. @param {Content} content */
export const textOf = (content) => (typeof content === "string" ? content : content.map(({ text }) => text ?? "").join("\n").trim());

/** The data URLs of its images. @param {Content} content */
export const imagesOf = (content) => (typeof content === "string" ? [] : content.flatMap(({ image_url: image }) => image?.url ?? []));

/**
 * What a person said; `edit` changes it and asks again, where that can be done.
 * @param {Content} content @param {Texts} texts @param {(() => void) | null} edit
 */
export function question(content, texts, edit) {
  const text = textOf(content);
  const images = imagesOf(content).map((url) => picture(url, texts.image));
  const said = [...(text ? [element("p", "", text)] : []), ...(images.length ? [element("div", "pictures", ...images)] : [])];
  const tools = edit ? [element("div", "turn-tools", button(texts.edit, edit, `${texts.edit}: ${text.slice(0, 80)}`))] : [];
  return element("article", "question", element("h2", "unseen", texts.you), ...said, ...tools);
}

/** What a model said, or is saying. */
export class AnswerView {
  #texts;
  #thoughts;
  #calls = element("div", "calls");
  #body = element("div", "markdown");
  #markdown;
  #outcome = element("p", "outcome");
  #tools = element("div", "turn-tools again");
  #again;
  #frame = 0;

  /** @param {Texts} texts @param {(() => void) | null} again asks the same once more, where that can be done */
  constructor(texts, again) {
    this.#texts = texts;
    this.#again = again;
    this.#markdown = new MarkdownView(this.#body, texts);
    this.#thoughts = element("details", "thoughts", element("summary", "", texts.reasoning), element("p", ""));
    this.#thoughts.hidden = true;
    this.root = element("article", "answer", element("h2", "unseen", texts.answer), this.#thoughts, this.#body, this.#calls, this.#outcome, this.#tools);
  }

  /** Show an answer that has ended. @param {Turn} turn */
  show({ text = "", reasoning = "", refusal = "", finish_reason: reason, tool_calls: calls = [], status, error }) {
    this.#settle({ text, reasoning, refusal, finishReason: reason ?? "", status, error: error ?? null }, calls);
    return this;
  }

  /** Show a run from its beginning, whenever it grows. @param {BelfryRun} run */
  follow(run) {
    this.root.ariaBusy = "true";
    run.on("text", () => (this.#frame ||= requestAnimationFrame(() => this.#render(run.text))));
    run.on("chunk", () => this.#think(run.reasoning));
    run.on("end", () => this.#end(run));
    return this;
  }

  /** @param {string} text @param {boolean} [isWhole] */
  #render(text, isWhole) {
    this.#frame = 0;
    followEnd(() => this.#markdown.render(text, isWhole));
  }

  /** @param {string} reasoning */
  #think(reasoning) {
    this.#thoughts.hidden = !reasoning;
    if (reasoning) /** @type {HTMLElement} */ (this.#thoughts.lastElementChild).textContent = reasoning;
  }

  /** @param {BelfryRun} run */
  async #end(run) {
    cancelAnimationFrame(this.#frame);
    this.#settle(run, run.tools.map((name) => ({ function: { name } })));
    if (run.tools.length === 0) return;
    const known = await run.load().catch(() => null); // the stream tells the names only
    if (known) this.#showCalls(/** @type {ToolCall[]} */ (known.tool_calls ?? []));
  }

  /**
   * @param {Pick<BelfryRun, "text" | "reasoning" | "refusal" | "finishReason" | "status" | "error">} answer
   * @param {ToolCall[]} calls
   */
  #settle(answer, calls) {
    followEnd(() => this.#fill(answer, calls));
  }

  /**
   * @param {Pick<BelfryRun, "text" | "reasoning" | "refusal" | "finishReason" | "status" | "error">} answer
   * @param {ToolCall[]} calls
   */
  #fill({ text, reasoning, refusal, finishReason, status, error }, calls) {
    this.root.ariaBusy = "false";
    this.#think(reasoning);
    this.#showCalls(calls);
    const texts = this.#texts;
    const isDone = status === "done";
    this.#outcome.classList.toggle("problem", !isDone && status !== "stopped");
    const told = isDone ? this.#remark(refusal, finishReason) : [status === "stopped" ? texts.stopped : (error?.detail ?? texts.failed)];
    this.#outcome.textContent = told.filter(Boolean).join(" ");
    this.#tools.replaceChildren(...(this.#again ? [button(texts.again, this.#again)] : []));
    this.#markdown.render(text, true);
  }

  /** What a reader must know of an answer that came to its end. @param {string} refusal @param {string} reason */
  #remark(refusal, reason) {
    const texts = this.#texts;
    const ends = { length: texts.length, content_filter: texts.filtered };
    return [refusal ? `${texts.refused} ${refusal}` : "", ends[/** @type {keyof typeof ends} */ (reason)] ?? ""];
  }

  /** @param {ToolCall[]} calls */
  #showCalls(calls) {
    this.#calls.replaceChildren(...calls.map(({ function: called }) => call(called?.name ?? "?", called?.arguments ?? "", this.#texts)));
  }
}

/** @param {string} name @param {string} given @param {Texts} texts */
function call(name, given, texts) {
  const said = texts.wantsToCall(name);
  if (!given) return element("p", "call", said);
  const code = element("pre", "scroll", element("code", "", given));
  code.tabIndex = 0;
  code.role = "group";
  code.ariaLabel = texts.code;
  return element("details", "call", element("summary", "", said), code);
}

/** Change what is shown. A reader at the end of the page stays there. @param {() => void} change */
function followEnd(change) {
  const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_END_PX;
  change();
  if (isAtEnd) scrollToEnd();
}

export const scrollToEnd = () => scrollTo(0, document.documentElement.scrollHeight);
