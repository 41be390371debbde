import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { tabsOf } from "../../app/static/modules/custom_tabs.js";

beforeEach(() => mock.method(console, "warn", () => {}));

const BILLING = { name: "tag:billing", label: "Billing", kind: "tag", value: "billing" };

test("tabs are read from a text and from a list alike", () => {
  const wanted = [{ name: "all" }, BILLING, { name: "topic:a:b=c", label: "News = today", kind: "topic", value: "a:b=c" }];
  assert.deepEqual(tabsOf("all, Billing=tag:billing ,News = today=topic:a:b=c").slice(0, 2), wanted.slice(0, 2));
  assert.deepEqual(tabsOf(["all", { label: "Billing", tag: "billing" }, { label: "News = today", topic: "a:b=c" }]), wanted);
  assert.equal(console.warn.mock.callCount(), 0);
});

test("each tab is there once, and without any there are the usual ones", () => {
  assert.deepEqual(tabsOf("unread, unread, Billing=tag:billing, Other=tag:billing").map(({ name }) => name), ["unread", "tag:billing"]);
  for (const none of ["", " , ", []]) assert.deepEqual(tabsOf(none).map(({ name }) => name), ["all", "unread", "archived"]);
});

for (const wrong of ["billing", "Billing=tag", "Billing=tag:", "=tag:billing", "Billing=user:x", { tag: "x" }, { label: "x" }, { label: "x", tag: 7 }, null, 7]) {
  test(`developers are told of a tab that is none: ${JSON.stringify(wrong)}`, () => {
    assert.deepEqual(tabsOf(["all", wrong]), [{ name: "all" }]);
    assert.equal(console.warn.mock.callCount(), 1);
  });
}
