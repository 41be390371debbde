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
  for (const [given, said] of [["<!doctype html>", "login page"], ["", "an empty text"], [undefined, "undefined"], ["{}", "an object"], ["no token", "another text"]]) {
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
    assert.equal(await server.streamUrl("a.1", 0), `${base}/stream?last_event_id=a.1&unnamed=true`);
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

for (const [status, type, body] of [[404, "text/html", "<h1>Not found</h1>"], [405, "text/plain", ""], [502, "text/html", "<h1>Bad gateway</h1>"], [404, "", ""]]) {
  test(`an answer ${status} of another program (${type || "no type"}) is told as such`, async () => {
    answers = () => new Response(body, { status, headers: type ? { "Content-Type": type } : {} });
    const server = new Server({ url: "https://push.example/wrong", token: () => "a.b.c" });
    await assert.rejects(server.feed({}), (error) => error.code === "not_belfry" && error.message.includes("https://push.example/wrong") && error.message.includes(String(status)));
    if (status < 500) assert.equal((await server.refusal("")).code, "not_belfry");
  });
}

test("a token function that never answers is told as a token that is not available", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const asked = new Server({ url: "https://push.example", token: () => new Promise(() => {}) }).feed({});
  const refused = assert.rejects(asked, (error) => error.code === "token_unavailable" && error.message.includes("15 seconds"));
  context.mock.timers.tick(15_000);
  await refused;
});

for (const [given, told] of [[undefined, "undefined"], [null, "null"], [7, "7"], ["", "an empty text"], ["secret", "another text"], [[], "a list"], [{ access_token: "a.b.c" }, "an object with the members access_token"], ['{"error":"x"}', "an object with the members error"]]) {
  test(`what a page gave instead of a token is named: ${JSON.stringify(given)}`, () => {
    assert.throws(() => tokenIn(given), (error) => error.code === "token_malformed" && error.message.endsWith(`got ${told}`));
  });
}
