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

  isConnected = true;
  isSignedOut = false;

  markRead = async () => { throw new Error("no answer"); };
  archive = this.markRead;
  remove = this.markRead;

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

test("a change is shown at once, and undone when the server does not accept it", async () => {
  const failed = model.mark(model.messages[0], true);
  assert.ok(model.messages[0].read);
  await assert.rejects(failed);
  assert.ok(!model.messages[0].read);
  for (const change of [() => model.archive(model.messages[0], true), () => model.remove(model.messages[0])]) {
    const failing = change();
    assert.deepEqual(ids(), ["1"]);
    await assert.rejects(failing);
    assert.deepEqual(ids(), ["2", "1"]);
  }
});

test("after a change that failed the feed is fetched as soon as there is a connection", async () => {
  client.isConnected = false;
  await assert.rejects(model.remove(model.messages[0]));
  client.page = { ...client.page, messages: [{ id: "1" }] }; // the server did it; only its reply was lost
  await pass(60_000);
  assert.deepEqual(ids(), ["2", "1"]);
  client.isConnected = true;
  client.listeners.get("state")("live");
  await pass(1_000);
  assert.deepEqual(ids(), ["1"]);
  client.listeners.get("state")("live");
  await pass(60_000);
  assert.equal(client.asked.length, 2, "once is enough");
});

test("a message that arrives while all others are being marked stays unread", async () => {
  let answer = () => {};
  client.markAllRead = () => new Promise((resolve) => { answer = resolve; });
  const marked = model.markAll();
  client.bring({ id: "3" }, "a.3");
  answer();
  await marked;
  assert.deepEqual(model.messages.map(({ id, read }) => [id, Boolean(read)]), [["3", false], ["2", true], ["1", true]]);
});

test("a first load that failed is tried again, with or without a new connection", async () => {
  const page = client.feed;
  for (const heal of [() => client.listeners.get("state")("live"), () => {}]) {
    client.feed = async () => { throw new Error("no answer"); };
    client.isConnected = heal.toString() === "() => {}";
    await model.reload();
    assert.equal(model.state, "failed");
    client.feed = page;
    client.isConnected = true;
    heal();
    await pass(2_000);
    assert.deepEqual([model.state, ids()], ["loaded", ["2", "1"]]);
  }
});

test("a user who is signed out sees no messages", () => {
  client.isSignedOut = true;
  client.listeners.get("state")("denied");
  assert.deepEqual(ids(), []);
});

test("a feed that is closed while it loads does not connect", async () => {
  let opened = false;
  client.open = () => { opened = true; };
  const closed = new FeedModel(client, () => {});
  const opening = closed.open();
  closed.close();
  await opening;
  assert.equal(opened, false);
});
