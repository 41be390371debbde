// Tells the user of a message that just came, in one tab. Loaded with the first such message.

import { sleep } from "./reconnect.js";
import { TabGroup } from "./tabs.js";
import { DeviceSettings, mayNotify } from "./device_settings.js";

const UNFOCUSED_MS = 150; // a visible tab lets the focused one go first
const UNSEEN_MS = 400; // a hidden tab lets the visible ones go first
const SHOWN_LOCK_MS = 10_000;

/**
 * Show a desktop notification where that is possible. Chrome on Android throws: there only a service worker may show one.
 * @param {string} title @param {NotificationOptions} options @param {() => void} click @returns {boolean} false: it can't be done here
 */
export function showNotification(title, options, click) {
  if (!mayNotify()) return true;
  try {
    new Notification(title, options).onclick = click;
    return true;
  } catch {
    DeviceSettings.set("desktop", false);
    return false;
  }
}

/** Wait so long, or until the page is left: Chromium drops a left page whose lock another tab wants. @param {number} ms */
async function untilLeft(ms) {
  const waiting = new AbortController();
  const left = new Promise((resolve) => addEventListener("pagehide", resolve, { signal: waiting.signal }));
  await Promise.race([left, sleep(ms)]);
  waiting.abort();
}

/**
 * Run `show` in one tab only: in the focused one, otherwise in a visible one, otherwise in any. Without Web Locks it runs
 * in every visible tab.
 * @param {string} id @param {() => void} show
 */
export async function inOneTab(id, show) {
  if (!TabGroup.isPossible) return document.hidden || show();
  if (!document.hasFocus()) await sleep(document.hidden ? UNSEEN_MS : UNFOCUSED_MS);
  navigator.locks.request(`belfry shown ${id}`, { ifAvailable: true }, async (lock) => {
    if (lock === null) return;
    show();
    await untilLeft(SHOWN_LOCK_MS); // until the slowest tab has looked
  }).catch(() => {}); // WebKit rejects when the page goes into the back/forward cache
}
