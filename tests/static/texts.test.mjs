import assert from "node:assert/strict";
import { test } from "node:test";

import { TEXTS, canonical, choose, trouble } from "../../app/static/modules/texts.js";

test("a language tag is read as systems write it, and what is none is passed over", () => {
  assert.deepEqual(["en_US", "zh_CN", "de_DE.UTF-8", "sr_RS@latin", "pt-br"].map(canonical), ["en-US", "zh-CN", "de-DE", "sr-RS", "pt-BR"]);
  assert.deepEqual(["C", "", "_", "-", "en-", "*", "1"].map(canonical), Array(7).fill(null));
});

test("times are in the language of the texts", () => {
  assert.deepEqual(choose(["zh_CN"]), { lang: "zh-CN", texts: TEXTS.zh });
  assert.deepEqual(choose(["en_GB"]), { lang: "en-GB", texts: TEXTS.en });
  assert.deepEqual(choose(["he"]), { lang: "en", texts: TEXTS.en });
  assert.deepEqual(choose(["C", "zh"]), { lang: "zh", texts: TEXTS.zh }, "the page names no language, the browser does");
  assert.deepEqual(choose(["", "C"]), { lang: "en", texts: TEXTS.en });
});

test("every tag that is chosen is one that Intl takes", () => {
  for (const tag of ["en_US", "C", "POSIX", "", "x", "zh_Hant_TW", "i-klingon", "en-US-x-private", "undefined"]) {
    new Intl.RelativeTimeFormat(choose([tag]).lang);
    new Intl.DateTimeFormat(choose([tag]).lang);
  }
});

test("no language lacks a text", () => {
  for (const texts of Object.values(TEXTS)) assert.deepEqual(Object.keys(texts).sort(), Object.keys(TEXTS.en).sort());
});

test("each reason has its own words", () => {
  const said = (state, reason, hasToken) => trouble(state, reason, hasToken, TEXTS.en).said;
  assert.equal(said("stopped", "replaced", true), "Open in too many places. This one is paused.");
  assert.equal(said("stopped", "disconnected", true), "An administrator ended the connection.");
  assert.equal(said("stopped", "revoked", true), "Your access was withdrawn.");
  assert.equal(said("stopped", "revoked", false), "You are signed out.");
  assert.equal(said("denied", "token_invalid", false), "You are signed out.", "the session has ended");
  assert.equal(said("denied", "token_invalid", true), "Notifications are not available on this page.");
  assert.equal(said("denied", "scope_missing", true), "Notifications are not available on this page.");
  assert.equal(said("denied", "token_unavailable", true), "You are signed out.");
});
