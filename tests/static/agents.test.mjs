import assert from "node:assert/strict";
import { test } from "node:test";

import { agentName } from "../../app/static/pages/agents.js";

const WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)";
const CHROMIUM = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0";
const NAMES = {
  [`Mozilla/5.0 (X11; Linux x86_64) ${CHROMIUM} Safari/537.36`]: "Chrome 156 on Linux",
  [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROMIUM} Safari/537.36 Edg/156.0.0.0`]: "Edge 156 on Windows",
  [`Mozilla/5.0 (Linux; Android 10; K) ${CHROMIUM} Mobile Safari/537.36 EdgA/156.0.0.0`]: "Edge 156 on Android",
  [`Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) ${WEBKIT} Version/18.0 EdgiOS/156.0 Mobile/15E148 Safari/605.1.15`]: "Edge 156 on iPhone",
  [`Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) ${WEBKIT} Version/18.5 Mobile/15E148 Safari/604.1`]: "Safari 18 on iPhone",
  [`Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) ${WEBKIT} CriOS/156.0 Mobile/15E148 Safari/604.1`]: "Chrome 156 on iPhone",
  [`Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) ${WEBKIT} FxiOS/153.0 Mobile/15E148 Safari/605.1.15`]: "Firefox 153 on iPad",
  [`Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${WEBKIT} Version/26.0 Safari/605.1.15`]: "Safari 26 on macOS",
  "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0": "Firefox 153 on Linux",
  [`Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) ${CHROMIUM} Safari/537.36`]: "Chrome 156 on ChromeOS",
  [`Mozilla/5.0 (Windows NT 10.0) ${CHROMIUM} Safari/537.36 OPR/120.0.0.0`]: "Opera 120 on Windows",
  [`Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) ${WEBKIT} Version/18.5 Mobile/15E148 Safari/604.1 OPT/5.2`]: "Opera 5 on iPhone",
  [`Mozilla/5.0 (X11; Linux x86_64) ${CHROMIUM} Safari/537.36 Vivaldi/7.1.3570.39`]: "Vivaldi 7 on Linux",
  [`Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${CHROMIUM} YaBrowser/25.2.0.0 Safari/537.36`]: "Yandex Browser 25 on Windows",
  [`Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${WEBKIT} Version/18.3 Safari/605.1.15 Ddg/18.3`]: "DuckDuckGo 18 on macOS",
  [`Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) ${WEBKIT} Mobile/15E148`]: "Web view on iPhone",
  [`Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${WEBKIT}`]: "Web view on macOS",
  [`Mozilla/5.0 (Linux; Android 15; Pixel 9; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/156.0.0.0 Mobile Safari/537.36`]: "Chrome 156 on Android",
  "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)": "UptimeRobot 2.0",
  "curl/8.14.1": "curl 8.14.1",
  "python-requests/2.32.5": "Python requests 2.32.5",
  "Go-http-client/2.0": "Go-http-client/2.0",
  "": "unknown program",
};

test("a program has the name that people know it by", () => {
  for (const [agent, name] of Object.entries(NAMES)) assert.equal(agentName(agent), name);
});

test("what nobody knows is shown as it came, and not more than fits on a line", () => {
  assert.equal(agentName("x".repeat(1_000)).length, 40);
});
