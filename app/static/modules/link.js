// A user's messages from the server to one tab.

import { Poll } from "./poll.js";
import { Reconnect, SILENCE_MS } from "./reconnect.js";
import { Refusal } from "./server.js";
import { OWN_TYPES } from "./stream.js";
import { PULSE_MS, TabCount } from "./tabs.js";

/** @import { Diagnosis } from "./reconnect.js" */
/** @import { Server } from "./server.js" */
/** @import { Block, Problem, State, StreamEvent } from "./types.js" */

/** The user's stream, or long polling while no stream gets through, as one sequence of blocks. */
export class Link {
  #server;
  #cursor;
  #types;
  #tabs;
  #onBlock;
  #reconnect;
  #isLost = false; // the history is lost, and nobody was told yet
  #counting = 0;
  #leftOut = new Set(); // topics that developers were told of

  /**
   * @param {Server} server @param {string} cursor @param {Iterable<string>} types @param {() => Promise<number>} tabs how many share it
   * @param {(block: Block) => void} onBlock @param {(state: State, reason: string) => void} onState
   * @param {(problem: Problem) => void} onProblem
   */
  constructor(server, cursor, types, tabs, onBlock, onState, onProblem) {
    this.#server = server;
    this.#cursor = cursor;
    this.#types = new Set([...OWN_TYPES, ...types]);
    this.#tabs = new TabCount(server, tabs);
    this.#onBlock = onBlock;
    this.#reconnect = new Reconnect(server, {
      url: async () => server.streamUrl(this.#cursor, await this.#tabs.give()),
      cursor: () => this.#cursor,
      types: () => this.#types,
      take: (event) => this.#onEvent(event),
      fallBack: (failed) => new Poll(server, this.#cursor, this.#onPolled, (error) => this.#onPollFailed(error, failed)),
      diagnose: () => this.#diagnose(),
      say: onState,
      complain: onProblem,
      drop: () => this.#tabs.end(),
    });
  }

  open() {
    this.#counting = setInterval(() => this.lookAtTabs(), PULSE_MS);
    this.#reconnect.open();
  }

  /** Perhaps a tab came or went. */
  lookAtTabs() {
    this.#tabs.look();
  }

  close() {
    clearInterval(this.#counting);
    this.#reconnect.close();
  }

  wake() {
    this.#reconnect.wake();
  }

  stay() {
    this.#reconnect.stay();
  }

  /** Another tab asks whether messages arrive. */
  check() {
    this.#reconnect.check(SILENCE_MS);
  }

  resume() {
    this.#reconnect.resume();
  }

  /** @param {string} type */
  listen(type) {
    if (this.#types.has(type)) return;
    this.#types.add(type);
    this.#reconnect.listen(type);
  }

  /** @param {StreamEvent} event */
  #onEvent({ type: named, data: text, cursor, kept }) {
    this.#cursor = cursor || this.#cursor;
    const data = JSON.parse(text);
    const type = named === "message" ? (data.event ?? named) : named; // see `unnamed` in the stream's address
    const block = { type, data, cursor, kept };
    if (type === "ready") this.#begin(block.data);
    if (type !== "heartbeat") this.#tell(block);
  }

  /** @param {{connection?: string, left_out?: {topic: string, code: string}[]}} ready */
  #begin(ready) {
    this.#tabs.begin(ready);
    for (const { topic, code } of ready.left_out ?? []) {
      if (this.#leftOut.has(topic)) continue;
      this.#leftOut.add(topic);
      this.#reconnect.complain(new Refusal(0, { code, detail: `No place for the topic ${topic}` }));
    }
  }

  #onPolled = (/** @type {Block} */ block) => {
    this.#cursor = block.cursor;
    this.#reconnect.hear();
    this.#tell(block);
  };

  /** @param {unknown} error @param {() => void} failed */
  #onPollFailed(error, failed) {
    if (error instanceof Refusal && error.code === "history_lost") this.#loseHistory();
    failed();
  }

  /** @returns {Promise<Diagnosis>} */
  async #diagnose() {
    const refusal = await this.#server.refusal(this.#cursor);
    if (refusal?.status !== 400) return { refusal };
    return { refusal, act: () => this.#loseHistory() }; // a cursor of another server, or of topics that are not granted now
  }

  #loseHistory() {
    this.#cursor = "";
    this.#isLost = true;
  }

  /** A loss is told with the next block: a tab that fetched the feed before that would miss what comes between. @param {Block} block */
  #tell(block) {
    if (this.#isLost) this.#onBlock({ type: "reset", data: {}, cursor: block.cursor, kept: true });
    this.#isLost = false;
    this.#onBlock(block);
  }
}
