import assert from "node:assert/strict";
import { test } from "node:test";

const CORE = ["client", "cursor", "follower", "id", "lifecycle", "link", "listeners", "model", "poll", "reconnect", "run", "server", "stream", "tabs", "texts"];

test("the modules without elements can be imported where there is no browser", async () => {
  for (const name of CORE) await assert.doesNotReject(import(`../../app/static/modules/${name}.js`), name);
});
