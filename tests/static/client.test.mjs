import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { BelfryClient } from "../../app/static/modules/client.js";
import { settle, startBrowser } from "./browser.mjs";

const tokenOf = (user) => `e30.${btoa(JSON.stringify({ sub: user }))}.c2ln`;
let groups;

beforeEach(() => {
  startBrowser();
  groups = [];
  globalThis.BroadcastChannel = class {
    constructor(name) {
      groups.push(name);
    }

    postMessage() {}
    close() {}
  };
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { locks: { request: () => new Promise(() => {}) } } });
});

/** The names under which tabs with these tokens share a connection. */
async function groupsOf(...tokens) {
  const clients = tokens.map((token) => new BelfryClient({ url: "https://push.example", token }));
  for (const client of clients) await client.open();
  await settle();
  for (const client of clients) client.close();
  return groups;
}

test("the tabs of a user share a connection, those of two users do not", async () => {
  const [first, second, other] = await groupsOf(() => tokenOf("alice"), () => tokenOf("alice"), () => tokenOf("bob"));
  assert.equal(first, second);
  assert.notEqual(first, other);
});

test("a tab that does not know its user yet shares a connection with no other tab", async () => {
  const fail = () => Promise.reject(new Error("not yet"));
  const [first, second] = await groupsOf(fail, fail);
  assert.notEqual(first, second);
});
