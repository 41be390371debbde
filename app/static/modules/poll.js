// Long polling, where a proxy holds streams back.

import { sleep } from "./reconnect.js";
import { POLL_WAIT_SECONDS } from "./server.js";

/** @import { Server } from "./server.js" */
/** @import { Block, Page } from "./types.js" */

const POLL_PAUSE_MS = 500; // a server that is about to stop answers at once

/** Fetches by long polling what a stream would tell, as the same blocks. */
export class Poll {
  #stop = new AbortController();

  /**
   * @param {Server} server @param {string} cursor
   * @param {(block: Block) => void} onBlock @param {(error: unknown) => void} onError
   */
  constructor(server, cursor, onBlock, onError) {
    this.#run(server, cursor, onBlock).catch((error) => {
      if (!this.#stop.signal.aborted) onError(error);
    });
  }

  close() {
    this.#stop.abort();
  }

  /** @param {Server} server @param {string} cursor @param {(block: Block) => void} onBlock */
  async #run(server, cursor, onBlock) {
    const { signal } = this.#stop;
    if (!cursor) cursor = (await server.feed({ limit: 1 }, signal)).cursor;
    /** @type {Record<string, string | number>} */
    let known = { wait: 0 };
    while (!signal.aborted) {
      const page = await server.feed({ after: cursor, ...known }, signal);
      if (signal.aborted) return;
      const blocks = blocksOf(page, cursor);
      cursor = page.cursor;
      known = { wait: POLL_WAIT_SECONDS, revision: page.revision ?? 0 }; // it ends when either changes
      for (const block of blocks) onBlock(block);
      if (page.messages.length === 0) await sleep(POLL_PAUSE_MS);
    }
  }
}

/**
 * The blocks that a stream would have told. The count comes last, because it includes every message.
 * @param {Page} page @param {string} place before it @returns {Block[]}
 */
export function blocksOf({ messages, unread, revision, cursor: end }, place) {
  const cursors = messages.map((_, at) => (at < messages.length - 1 ? place : end));
  const blocks = messages.map((message, at) => ({ type: message.event ?? "message", data: message, cursor: cursors[at] ?? end, end, kept: true }));
  return [...blocks, { type: "ready", data: { unread, revision }, cursor: end, kept: false }];
}
