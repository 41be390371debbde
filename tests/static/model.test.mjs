import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { FeedModel } from "../../app/static/modules/model.js";
import { pass, settle, startBrowser } from "./browser.mjs";

/** A client that answers what it is told to. */
class PlayedClient {
  page = { messages: [], next: null, unread: 0, cursor: "a.0", revision: 0 };
  asked = [];
  listeners = new Map();

  on(type, listener) {
    this.listeners.set(type, listener);
  }

  async feed(query) {
    this.asked.push(query);
    return this.page;
  }

  open() {}

  close() {}

  async markRead() {
    throw new Error("no answer");
  }

  /** A message arrives. */
  bring(message, cursor) {
    this.listeners.get("*")(message, { type: "message", data: message, cursor, kept: true });
  }
}

let client;
let model;
const ids = () => model.messages.map(({ id }) => id);

beforeEach(async () => {
  startBrowser();
  client = new PlayedClient();
  client.page.messages = [{ id: "2" }, { id: "1" }];
  model = new FeedModel(client, () => {});
  await model.open();
});

test("a new message stands first, and takes the place of the one with its key", () => {
  client.bring({ id: "3", key: "build" }, "a.3");
  client.bring({ id: "4", key: "build" }, "a.4");
  assert.deepEqual(ids(), ["4", "2", "1"]);
});

test("what arrives while a page is fetched is shown once, whether the page has it or not", async () => {
  client.page = { ...client.page, messages: [{ id: "3" }, { id: "2" }], cursor: "a.3" };
  const loaded = model.reload();
  client.bring({ id: "3" }, "a.3");
  client.bring({ id: "4" }, "a.4");
  await loaded;
  assert.deepEqual(ids(), ["4", "3", "2"]);
});

test("a revision that was jumped over means that the feed is fetched again", async () => {
  client.listeners.get("read")({ ids: ["1"], read: true, revision: 1 });
  await pass(1_000);
  assert.equal(client.asked.length, 1);
  client.listeners.get("read")({ ids: ["2"], read: true, revision: 3 });
  await pass(1_000);
  assert.equal(client.asked.length, 2);
});

test("a change that the server did not take is fetched as it is", async () => {
  await assert.rejects(model.mark(model.messages[0], true));
  assert.ok(model.messages[0].read);
  await pass(1_000);
  await settle();
  assert.ok(!model.messages[0].read);
});
