// The HTTP calls about conversations, for the user who is signed in.

import { Refusal } from "../belfry.js";
import { addressOf, here } from "./ids.js";

/** @typedef {{type: string, text?: string, image_url?: {url: string}}} Part */
/** @typedef {string | Part[]} Content */
/** @typedef {{function?: {name?: string, arguments?: string}}} ToolCall */
/**
 * @typedef {object} Turn One question, and its answer unless the status is `running`.
 * @property {string} id its run's id
 * @property {Content} content
 * @property {string} model
 * @property {"running" | "done" | "stopped" | "failed"} status
 * @property {string} [text]
 * @property {string | null} [finish_reason]
 * @property {string} [reasoning]
 * @property {string} [refusal]
 * @property {ToolCall[]} [tool_calls]
 * @property {{code: string, detail: string}} [error]
 */
/** @typedef {{id: string, title: string, used: string, revision: number, running: string | null}} Listed */
/** @typedef {Listed & {turns: Turn[]}} Conversation */
/** @typedef {{id: string, turn: string, revision: number}} Taken */
/** @typedef {{id: string, model: string, content: Content, after?: string | null, revision?: number}} Question */

const ANSWER_MS = 30_000;
const TRIES = 5;
const PAUSE_MS = 500;

/** The conversations that were used last, newest first. @param {number} limit @returns {Promise<Listed[]>} */
export const list = async (limit) => (await call("GET", `${here("/conversations")}?limit=${limit}`)).conversations;

/** @param {string} id @returns {Promise<Conversation>} */
export const show = (id) => call("GET", addressOf("/conversations", id));

/** Start a conversation with its first question. @param {Question} question @returns {Promise<Taken>} */
export const begin = (question) => call("POST", here("/conversations"), question);

/** Ask something more. Its id makes it safe to repeat. @param {string} id @param {Question} question @returns {Promise<Taken>} */
export const ask = (id, question) => call("POST", addressOf("/conversations", id, "/turns"), question);

/** @param {string} id @param {string} title */
export const rename = (id, title) => call("PATCH", addressOf("/conversations", id), { title });

/** @param {string} id */
export const remove = (id) => call("DELETE", addressOf("/conversations", id));

/**
 * Each call may be repeated, so one that got no answer is tried again. Throws a `Refusal`, or a `TypeError` without an answer.
 * @param {string} method @param {string} url @param {object} [body]
 */
async function call(method, url, body) {
  const init = { method, cache: /** @type {const} */ ("no-store"), ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) };
  for (let tries = 1; ; tries++) {
    try {
      const answer = await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.ok) return answer.status === 204 ? null : await answer.json();
      throw new Refusal(answer.status, await answer.json().catch(() => ({})));
    } catch (error) {
      if (error instanceof Refusal || tries === TRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
  }
}
