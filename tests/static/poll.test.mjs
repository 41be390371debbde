import assert from "node:assert/strict";
import { test } from "node:test";

import { blocksOf } from "../../app/static/modules/poll.js";

test("a page of messages becomes the blocks that a stream would have told, the count last", () => {
  const messages = [{ id: "1" }, { id: "2", event: "order" }];
  const blocks = blocksOf({ messages, unread: 2, revision: 7, cursor: "a.2", next: null }, "a.0");
  assert.deepEqual(blocks, [
    { type: "message", data: messages[0], cursor: "a.0", end: "a.2", kept: true },
    { type: "order", data: messages[1], cursor: "a.2", end: "a.2", kept: true },
    { type: "ready", data: { unread: 2, revision: 7 }, cursor: "a.2", kept: false },
  ]);
});
