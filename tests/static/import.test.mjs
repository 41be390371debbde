import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

const MODULES = new URL("../../app/static/modules/", import.meta.url);

test("every module can be imported where there is no browser, as a server that renders pages does", async () => {
  const names = readdirSync(MODULES).filter((name) => name.endsWith(".js"));
  assert(names.length > 20);
  for (const name of names) await assert.doesNotReject(import(new URL(name, MODULES)), name);
  await assert.doesNotReject(import("../../app/static/belfry.js"));
});
