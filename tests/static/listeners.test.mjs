import assert from "node:assert/strict";
import { test } from "node:test";

import { Listeners } from "../../app/static/modules/events.js";

test("each listener hears its own type until it is taken away", () => {
  const heard = [];
  const listeners = new Listeners();
  const stop = listeners.add("a", (...told) => heard.push(told));
  listeners.add("b", () => assert.fail("it listens to another type"));
  listeners.emit("a", 1, 2);
  stop();
  listeners.emit("a", 3);
  assert.deepEqual(heard, [[1, 2]]);
});

test("a listener that fails is reported, and the others still hear", () => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  const heard = [];
  const listeners = new Listeners();
  listeners.add("a", () => { throw new Error("mine"); });
  listeners.add("a", (told) => heard.push(told));
  listeners.emit("a", 1);
  assert.deepEqual([heard, reported], [[1], ["mine"]]);
});
