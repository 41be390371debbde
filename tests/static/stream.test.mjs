import assert from "node:assert/strict";
import { test } from "node:test";

import { further, reaches } from "../../app/static/modules/stream.js";

test("a place reaches each place that is not ahead of it in any log", () => {
  assert.ok(reaches("a.2-b.5", "a.2-b.5"));
  assert.ok(reaches("a.3-b.5", "a.2-b.5"));
  assert.ok(!reaches("a.3-b.4", "a.2-b.5"));
  assert.ok(!reaches("a.3", "a.2-b.5"), "it does not read that log");
  assert.ok(!reaches("c.9", "a.2"), "it is a place in another history");
});

test("a client without a place misses nothing", () => {
  assert.ok(reaches("", "a.2"));
  assert.ok(!reaches("a.2", ""));
});

test("the further place is behind in no log", () => {
  assert.equal(further("a.2-b.7", "a.3-b.5"), "a.3-b.7");
  assert.equal(further("", "a.3"), "a.3");
  assert.equal(further("a.3", ""), "a.3");
  assert.equal(further("c.9", "a.3"), "a.3", "of another history nothing is kept");
});
