import assert from "node:assert/strict";
import { test } from "node:test";

import { Recent, randomId } from "../../app/static/modules/id.js";

test("an id is 128 random bits in hexadecimal", () => {
  assert.match(randomId(), /^[0-9a-f]{32}$/);
  assert.notEqual(randomId(), randomId());
});

test("an id is new once, until thousands came after it", () => {
  const recent = new Recent();
  assert.ok(recent.add("first"));
  assert.ok(!recent.add("first"));
  for (let number = 0; number < 4_096; number++) recent.add(String(number));
  assert.ok(recent.add("first"), "it was forgotten");
  assert.ok(!recent.add("4095"));
});
