import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Refusal, Server, tokenIn } from "../../app/static/modules/server.js";
import { startBrowser } from "./browser.mjs";

const TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln";
let asked = [];
let answers = () => Response.json({});

beforeEach(() => {
  startBrowser();
  asked = [];
  globalThis.location = new URL("https://shop.example/");
  globalThis.fetch = async (url, init) => {
    asked.push(`${init.method ?? "GET"} ${url}`);
    return answers(new URL(url), init);
  };
});

test("a token is taken as text, as JSON, and as a JSON string", () => {
  for (const given of [TOKEN, ` ${TOKEN}\n`, `"${TOKEN}"`, `{"token": "${TOKEN}"}`, { token: TOKEN }]) assert.equal(tokenIn(given), TOKEN);
});

test("what is no token is refused with what came instead", () => {
  for (const [given, said] of [["<!doctype html>", "login page"], ["", "string"], [undefined, "undefined"], ["{}", "a text"], ["no token", "a text"]]) {
    assert.throws(() => tokenIn(given), (error) => error.code === "token_malformed" && error.denied && error.message.includes(said), String(given));
  }
});

for (const [url, base] of [
  ["https://push.example", "https://push.example"],
  ["https://push.example/", "https://push.example"],
  ["https://shop.example/push/", "https://shop.example/push"],
  ["/push", "https://push.example/push"],
  ["https://push.example/push?x=1#y", "https://push.example/push"],
]) {
  test(`everything that is called at ${url} is below it`, async () => {
    const server = new Server({ url });
    await server.feed({ limit: 1 });
    assert.equal(asked[0], `GET ${base}/feed?limit=1`);
    assert.equal(await server.streamUrl("a.1", 0), `${base}/stream?last_event_id=a.1`);
  });
}

test("an error of the page's own function is told as a token that is not available", async () => {
  const server = new Server({ url: "https://push.example", token: () => { throw new Error("not yet"); } });
  await assert.rejects(server.feed({}), (error) => error instanceof Refusal && error.code === "token_unavailable" && error.message.includes("not yet"));
});

test("a server that is up and gives no answer to this page refuses its origin", async () => {
  answers = (url) => {
    if (url.pathname === "/health/live") return new Response("");
    throw new TypeError("Failed to fetch");
  };
  assert.equal((await new Server({ url: "https://push.example" }).refusal("")).code, "origin_refused");
  answers = () => { throw new TypeError("Failed to fetch"); };
  assert.equal((await new Server({ url: "https://push.example" }).refusal("")).code, "unreachable");
});

test("a refusal without a body is asked for its code", async () => {
  answers = (url, { method }) => (method === "HEAD" ? new Response(null, { status: 403 }) : Response.json({ code: "scope_missing", detail: "It needs feed" }, { status: 403 }));
  const refusal = await new Server({ url: "https://push.example" }).refusal("");
  assert.deepEqual([refusal.code, refusal.message], ["scope_missing", "It needs feed"]);
});
