import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { watchPage } from "../../app/static/modules/events.js";
import { pass, startBrowser } from "./browser.mjs";

let heard;
let stop;

beforeEach(() => {
  startBrowser();
  heard = [];
  const on = Object.fromEntries(["leave", "restore", "wake", "stay", "freeze", "thaw"].map((name) => [name, () => heard.push(name)]));
  stop = watchPage(on);
});

test("a navigation that becomes a download leaves the page where it is", async () => {
  dispatchEvent(new Event("beforeunload"));
  await pass(1_000);
  assert.deepEqual(heard, ["stay"]);
});

test("a navigation that leaves the page is no stay", async () => {
  dispatchEvent(new Event("beforeunload"));
  dispatchEvent(new Event("pagehide"));
  await pass(1_000);
  assert.deepEqual(heard, ["leave"]);
});

test("a page that is visible again or online again wakes, a hidden one does not", () => {
  dispatchEvent(new Event("online"));
  document.dispatchEvent(new Event("visibilitychange"));
  document.hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(heard, ["wake", "wake"]);
});

test("only a page that comes out of the cache is restored", () => {
  dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
  dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.deepEqual(heard, ["restore"]);
});

test("nothing is heard after the end", async () => {
  dispatchEvent(new Event("beforeunload"));
  stop();
  for (const type of ["pagehide", "online"]) dispatchEvent(new Event(type));
  await pass(1_000);
  assert.deepEqual(heard, []);
});
