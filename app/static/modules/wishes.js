// A sound and a desktop notification, for users who want them, in one tab.

import { sleep } from "./reconnect.js";
import { TabGroup } from "./tabs.js";

const UNFOCUSED_MS = 150; // a visible tab lets the focused one go first
const UNSEEN_MS = 400; // a hidden tab lets the visible ones go first
const SHOWN_LOCK_MS = 10_000;

/** The user's settings, kept by the browser for all tabs of a site. */
export class Wishes {
  /** @param {"sound" | "desktop"} name */
  static has(name) {
    try {
      return localStorage.getItem(`belfry.${name}`) === "yes";
    } catch {
      return false; // storage is blocked
    }
  }

  /** @param {"sound" | "desktop"} name @param {boolean} wanted */
  static set(name, wanted) {
    try {
      localStorage.setItem(`belfry.${name}`, wanted ? "yes" : "no");
    } catch {
      // storage is blocked: the setting lasts as long as the page
    }
  }
}

/** Two notes of a bell, synthesized. */
export function chime() {
  const audio = new AudioContext();
  const notes = [880, 1_318.5];
  notes.forEach((frequency, at) => {
    const start = audio.currentTime + at * 0.12;
    const note = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.15, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
    note.connect(volume).connect(audio.destination);
    note.start(start);
    note.stop(start + 0.5);
  });
  setTimeout(() => audio.close(), 1_000);
}

/** Whether the browser has desktop notifications and the user allowed them; null: the user was not asked. */
export function mayNotify() {
  if (!("Notification" in globalThis)) return false;
  return Notification.permission === "default" ? null : Notification.permission === "granted";
}

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
    Wishes.set("desktop", false);
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
