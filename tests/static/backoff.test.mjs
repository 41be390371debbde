import assert from "node:assert/strict";
import { test } from "node:test";

import { BACKOFF_MOST_MS, Backoff } from "../../app/static/modules/reconnect.js";

test("delays are random up to a limit that doubles to thirty seconds", (context) => {
  context.mock.method(Math, "random", () => 1);
  const backoff = new Backoff();
  const delays = Array.from({ length: 7 }, () => backoff.next());
  assert.deepEqual(delays, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.equal(BACKOFF_MOST_MS, 30_000);
  backoff.reset();
  assert.equal(backoff.next(), 1_000);
});
