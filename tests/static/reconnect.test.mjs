import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Reconnect } from "../../app/static/modules/reconnect.js";
import { Refusal } from "../../app/static/modules/server.js";
import "../../app/static/modules/remedies.js"; // loaded on demand; here it is there at once
import { pass, settle, startBrowser, streams } from "./browser.mjs";

let states = [];
let taken = [];
let refusal = null;
let fallbacks = [];
let forgotten = 0;
let problems = [];
let reason = "";
const server = { base: "https://push.example", usesTickets: false, forgetToken: () => forgotten++ };

/** A stream that is followed, already opened once. */
async function follow(given = {}) {
  const reconnect = new Reconnect(server, {
    url: async () => "https://push.example/stream",
    cursor: () => "a.1",
    types: () => ["ready", "heartbeat", "message", "goodbye"],
    take: ({ type }) => taken.push(type),
    fallBack: (failed) => {
      fallbacks.push({ failed, isOpen: true, close() { this.isOpen = false; } });
      return fallbacks.at(-1);
    },
    diagnose: async () => ({ refusal }),
    say: (state, given) => [states.push(state), (reason = given)],
    complain: (problem) => problems.push(problem),
    ...given,
  });
  reconnect.open();
  await settle();
  return reconnect;
}

beforeEach(() => {
  startBrowser();
  mock.method(Math, "random", () => 1); // the longest delays
  mock.method(console, "warn", () => {});
  [states, taken, refusal, fallbacks, forgotten, problems, reason, server.usesTickets] = [[], [], null, [], 0, [], "", false];
});

test("it is live once the stream is ready, and tells everything that the stream says", async () => {
  await follow();
  streams[0].say("ready");
  streams[0].say("message");
  assert.deepEqual([states, taken], [["connecting", "live"], ["ready", "message"]]);
});

test("the browser's own retry is waited for once", async () => {
  await follow();
  streams[0].say("ready");
  streams[0].fail(false);
  assert.deepEqual([states.at(-1), streams.length], ["connecting", 1]);
  streams[0].say("ready");
  assert.equal(states.at(-1), "live");
  streams[0].fail(false);
  streams[0].fail(false);
  await settle();
  assert.equal(states.at(-1), "waiting");
});

test("a stream that was opened with a ticket is not retried by the browser", async () => {
  server.usesTickets = true;
  await follow();
  streams[0].say("ready");
  streams[0].fail(false);
  assert.equal(streams[0].readyState, 2);
  assert.equal(states.at(-1), "waiting");
});

test("it reconnects after delays that grow, and that are short again after a success", async () => {
  await follow();
  for (const [tries, ms] of [[2, 1_000], [3, 2_000], [4, 4_000]]) {
    streams.at(-1).fail();
    await settle();
    await pass(ms - 1);
    assert.equal(streams.length, tries - 1);
    await pass(1);
    assert.equal(streams.length, tries);
  }
  streams.at(-1).say("ready");
  streams.at(-1).fail();
  await settle();
  await pass(1_000);
  assert.equal(streams.length, 5);
});

test("a server that names a delay is not asked before it has passed", async () => {
  refusal = new Refusal(503, {}, 20_000);
  await follow();
  streams[0].fail();
  await settle();
  await pass(19_999);
  assert.equal(streams.length, 1);
  await pass(1);
  assert.equal(streams.length, 2);
});

test("without a valid credential it waits for the user", async () => {
  refusal = new Refusal(401, { code: "token_missing" });
  const reconnect = await follow();
  streams[0].fail();
  await settle();
  assert.equal(states.at(-1), "denied");
  await pass(3_600_000);
  assert.equal(streams.length, 1);
  reconnect.resume();
  await settle();
  assert.equal(streams.length, 2);
});

test("a problem is told to developers once, until it works again", async () => {
  refusal = new Refusal(401, { code: "token_invalid", detail: "The token is not valid" });
  const reconnect = await follow();
  for (let tries = 0; tries < 3; tries++) {
    streams.at(-1).fail();
    await settle();
    await settle();
    reconnect.resume();
    await settle();
  }
  assert.equal(problems.length, 1);
  assert.deepEqual([problems[0].code, problems[0].status, problems[0].detail], ["token_invalid", 401, "The token is not valid"]);
  assert.match(problems[0].remedy, /BELFRY_SECRET/);
  assert.equal(console.warn.mock.callCount(), 1);
  assert.match(console.warn.mock.calls[0].arguments[0], /https:\/\/push\.example\/docs\/embedding\/#if-the-bell/);
  streams.at(-1).say("ready");
  streams.at(-1).fail();
  await settle();
  await settle();
  assert.equal(problems.length, 2);
});

test("a token that the page could not get is the reason, and nothing more is asked", async () => {
  const error = new Refusal(0, { code: "token_unavailable", detail: "/token answered 500" });
  await follow({ url: async () => { throw error; }, diagnose: () => assert.fail("it is known") });
  await settle();
  assert.deepEqual([states.at(-1), problems[0]?.code], ["waiting", "token_unavailable"]);
});

test("after an administrator's disconnect it comes back later by itself", async () => {
  await follow();
  streams[0].say("ready");
  streams[0].say("goodbye", { reason: "disconnected" });
  assert.deepEqual([states.at(-1), reason], ["stopped", "disconnected"]);
  await pass(59_999);
  assert.equal(streams.length, 1);
  await pass(60_001);
  assert.equal(streams.length, 2);
});

test("it wakes at once when the network is back", async () => {
  const reconnect = await follow();
  streams[0].fail();
  await settle();
  reconnect.wake();
  await settle();
  assert.equal(streams.length, 2);
});

for (const final of ["replaced", "revoked"]) {
  test(`after a goodbye "${final}" it waits for the user`, async () => {
    const reconnect = await follow();
    streams[0].say("ready");
    streams[0].say("goodbye", { reason: final });
    assert.deepEqual([states.at(-1), reason], ["stopped", final]);
    await pass(3_600_000);
    assert.equal(streams.length, 1);
    reconnect.resume();
    await settle();
    assert.equal(streams.length, 2);
  });
}

test("after a goodbye \"expired\" it asks for a new token and comes back", async () => {
  server.usesTickets = true;
  await follow();
  streams[0].say("ready");
  streams[0].say("goodbye", { reason: "expired" });
  await pass(1_000);
  assert.deepEqual([forgotten, streams.length], [1, 2]);
});

test("beside a stream that is not ready in five seconds the fallback runs, and later a new stream is tried", async () => {
  const reconnect = await follow();
  await pass(5_000);
  assert.deepEqual([fallbacks.length, streams[0].readyState], [1, 0]);
  reconnect.hear();
  assert.equal(states.at(-1), "polling");
  await pass(30_000);
  assert.equal(streams[0].readyState, 2, "a proxy holds it back");
  await pass(30_000);
  assert.equal(streams.length, 2);
  assert.equal(states.at(-1), "polling", "the fallback still runs");
  streams[1].say("ready");
  assert.deepEqual([states.at(-1), fallbacks[0].isOpen], ["live", false]);
});

test("a stream of a slow server ends the fallback as soon as it is ready", async () => {
  const reconnect = await follow();
  await pass(5_000);
  reconnect.hear();
  await pass(3_000);
  streams[0].say("ready");
  assert.deepEqual([states.at(-1), streams.length, fallbacks[0].isOpen], ["live", 1, false]);
  await pass(30_000);
  assert.equal(streams.length, 1);
});

for (const closed of [true, false]) {
  test(`a late stream that fails (closed: ${closed}) leaves the fallback running`, async () => {
    const reconnect = await follow();
    await pass(5_000);
    reconnect.hear();
    streams[0].fail(closed);
    await settle();
    assert.deepEqual([states.at(-1), fallbacks[0].isOpen, streams[0].readyState], ["polling", true, 2]);
    await pass(60_000);
    assert.equal(streams.length, 2);
    assert.equal(fallbacks.length, 1);
  });
}

test("a fallback that fails is closed, and the reason is looked for", async () => {
  await follow();
  await pass(5_000);
  fallbacks[0].failed();
  await settle();
  assert.deepEqual([states.at(-1), fallbacks[0].isOpen], ["waiting", false]);
});

test("a stream that is silent for longer than two heartbeats is opened anew", async () => {
  await follow();
  streams[0].say("ready");
  for (let beats = 0; beats < 8; beats++) {
    await pass(15_000);
    streams[0].say("heartbeat");
  }
  assert.equal(streams.length, 1);
  await pass(44_000);
  assert.equal(streams.length, 2);
});

test("what an attempt finds out after it was given up changes nothing", async () => {
  let answer = () => {};
  const acted = [];
  const reconnect = await follow({ diagnose: () => new Promise((resolve) => { answer = resolve; }) });
  streams[0].fail();
  reconnect.close();
  answer({ refusal: null, act: () => acted.push("acted") });
  await settle();
  await pass(60_000);
  assert.deepEqual([acted, streams.length], [[], 1]);
});

test("a stream that was closed without an error is opened anew", async () => {
  await follow();
  streams[0].say("ready");
  streams[0].readyState = 2; // as Firefox does at a download
  await pass(3_000);
  assert.equal(streams.length, 2);
});

test("a hidden page's stream may be silent for longer, but not for ever", async () => {
  await follow();
  streams[0].say("ready");
  document.hidden = true;
  await pass(60_000);
  assert.equal(streams.length, 1);
  await pass(18_000);
  assert.equal(streams.length, 2);
});

test("a page that began to leave and stayed opens its stream anew", async () => {
  const reconnect = await follow();
  streams[0].say("ready");
  reconnect.stay();
  await settle();
  assert.deepEqual([streams.length, streams[0].readyState], [2, 2]);
});
