import assert from "node:assert/strict";
import { test } from "node:test";

import { LANGUAGES, load, nameOf } from "../../app/static/modules/languages.js";
import { Age } from "../../app/static/modules/message_view.js";
import { ENGLISH, canonical, tagOf, trouble } from "../../app/static/modules/texts.js";

test("a language tag is read as systems write it, and what is none is passed over", () => {
  assert.deepEqual(["en_US", "zh_CN", "de_DE.UTF-8", "sr_RS@latin", "pt-br"].map(canonical), ["en-US", "zh-CN", "de-DE", "sr-RS", "pt-BR"]);
  assert.deepEqual(["C", "", "_", "-", "en-", "*", "1"].map(canonical), Array(7).fill(null));
});

test("the first tag that is a language counts, and times are in the language of the texts", async () => {
  assert.deepEqual([tagOf(["zh_CN"]), tagOf(["C", "zh"]), tagOf(["", "C"]), tagOf(["en_GB", "de"])], ["zh-CN", "zh", "en", "en-GB"]);
  assert.equal((await load("zh-CN")).lang, "zh-CN");
  assert.deepEqual(await load("he"), { lang: "en", texts: ENGLISH });
});

test("a language is found by its script, its region or itself", () => {
  assert.deepEqual(["zh", "zh-SG", "zh-Hans-HK", "zh-TW", "zh-HK", "zh-Hant"].map(nameOf), ["zh-CN", "zh-CN", "zh-CN", "zh-TW", "zh-TW", "zh-TW"]);
  assert.deepEqual(["pt", "pt-PT", "de-AT", "es-419", "fr-CA", "ja-JP", "ko", "ar-EG"].map(nameOf), ["pt-BR", "pt-BR", "de", "es", "fr", "ja", "ko", "ar"]);
  assert.deepEqual(["he", "en", "sr-RS"].map(nameOf), ["en", "en", "en"]);
});

test("every tag that is chosen is one that Intl takes", () => {
  for (const tag of ["en_US", "C", "POSIX", "", "x", "zh_Hant_TW", "i-klingon", "en-US-x-private", "undefined"]) {
    new Intl.RelativeTimeFormat(tagOf([tag]));
    new Intl.DateTimeFormat(tagOf([tag]));
  }
});

test("no language lacks a text, and none is English", async () => {
  assert.deepEqual(Object.keys(LANGUAGES).sort(), ["ar", "de", "es", "fr", "ja", "ko", "pt-BR", "zh-CN", "zh-TW"]);
  const sameWord = new Set(["de Information", "fr Notifications", "fr Actions", "fr Message", "fr Information", "es Error"]);
  for (const name of Object.keys(LANGUAGES)) {
    const { texts } = await load(name);
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(ENGLISH).sort(), name);
    for (const [key, text] of Object.entries(texts)) {
      const said = typeof text === "function" ? text(3) : text;
      const english = typeof text === "function" ? ENGLISH[key](3) : ENGLISH[key];
      assert.ok(said.trim(), `${name}: ${key}`);
      assert.ok(said !== english || sameWord.has(`${name} ${said}`), `${name}: ${key} is English`);
      if (typeof text === "function") assert.ok(said.includes("3"), `${name}: ${key}`);
    }
    assert.ok(!/\d/.test(texts.bell(0)), name);
  }
});

test("each reason has its own words", () => {
  const said = (state, reason, hasToken) => trouble(state, reason, hasToken, ENGLISH).said;
  assert.equal(said("stopped", "replaced", true), "Open in too many places. This one is paused.");
  assert.equal(said("stopped", "disconnected", true), "An administrator ended the connection.");
  assert.equal(said("stopped", "revoked", true), "Your access was withdrawn.");
  assert.equal(said("stopped", "revoked", false), "You are signed out.");
  assert.equal(said("denied", "token_invalid", false), "You are signed out.", "the session has ended");
  assert.equal(said("denied", "token_invalid", true), "Notifications are not available on this page.");
  assert.equal(said("denied", "scope_missing", true), "Notifications are not available on this page.");
  assert.equal(said("denied", "token_unavailable", true), "You are signed out.");
});

test("days are named as people name them, in each language", () => {
  const before = (days) => new Date(new Date().setHours(12, 0, 0, 0) - days * 86_400_000).toISOString();
  assert.deepEqual([0, 1].map((days) => new Age("en", ENGLISH).day(before(days))), ["Today", "Yesterday"]);
  assert.deepEqual([0, 1].map((days) => new Age("fr", ENGLISH).day(before(days))), ["Aujourd\u2019hui", "Hier"]);
  for (const lang of ["en", ...Object.keys(LANGUAGES)]) {
    const age = new Age(lang, ENGLISH);
    assert.equal(new Set([0, 1, 2, 3, 400].map((days) => age.day(before(days)))).size, 5);
  }
  assert.match(new Age("en", ENGLISH).day("2020-02-03T12:00:00Z"), /^Monday, February 3, 2020$/);
});
