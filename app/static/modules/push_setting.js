// The setting "Notify me on this device": Web Push, for the time in which no page is open. Loaded with the settings.

import { askToNotify, mayNotify } from "./device_settings.js";
import { element } from "./markup.js";

/** @import { Server } from "./server.js" */
/** @import { Texts } from "./texts.js" */

const KEPT = "belfry.push"; // in the browser's storage: the user whose messages this device gets
const RENEWED = "belfry.push.renewed"; // in the browser's storage: when the server was last told of this device, Unix ms
const DAY_MS = 86_400_000;
const HEADERS = { "Content-Type": "application/json" };

/** The policy by which a page with Trusted Types may start our worker, and nothing else. @type {any} */ let policy;

/**
 * Add the setting, if this browser, this page and the server have Web Push.
 * @param {HTMLElement} root @param {Server} server @param {Texts} texts
 */
export async function addPushSetting(root, server, texts) {
  if (!navigator.serviceWorker || !("PushManager" in globalThis)) return;
  if (!(await navigator.serviceWorker.getRegistration()) && !isOwnPage(server)) return;
  const { key, user } = await (await server.call("/push/key", {})).json();
  const status = element("p", { role: "status" });
  const box = element("input", { type: "checkbox", name: "push", change: () => change() });
  const change = async () => {
    box.disabled = true;
    try {
      if (box.checked) box.checked = await subscribe(server, key, user);
      else await unsubscribe(server);
      status.textContent = box.checked || mayNotify() ? "" : texts.desktopDenied;
    } catch {
      box.checked = !box.checked;
      status.textContent = texts.changeFailed;
    }
    box.disabled = false;
  };
  box.checked = await isSubscribed(user);
  root.append(element("label", {}, box, texts.push), status);
}

/** The server keeps a device for a limited time, and as long as it trusts the key of the token: tell it again each day. @param {Server} server */
export async function renewPush(server) {
  if (!kept(KEPT) || Date.now() - Number(kept(RENEWED)) < DAY_MS) return;
  const { key, user } = await (await server.call("/push/key", {})).json();
  if (await isSubscribed(user)) await subscribe(server, key, user);
}

/** Whether this is a page of Belfry itself. Another page starts its own worker, which includes ours. @param {Server} server */
const isOwnPage = ({ base }) => `${location.origin}${location.pathname}`.startsWith(`${base}/`);

/** @param {string} user */
async function isSubscribed(user) {
  return kept(KEPT) === user && mayNotify() === true && Boolean(await (await manager())?.getSubscription());
}

/** @param {Server} server @param {string} key @param {string} user @returns {Promise<boolean>} false: the user does not allow notifications */
async function subscribe(server, key, user) {
  if (mayNotify() === null) await askToNotify();
  if (mayNotify() !== true) return false;
  if (!(await manager())) await navigator.serviceWorker.register(workerUrl(server), { scope: `${server.base}/` });
  const { pushManager } = await navigator.serviceWorker.ready;
  const wanted = { userVisibleOnly: true, applicationServerKey: key };
  const subscription = await pushManager.subscribe(wanted).catch(async (/** @type {DOMException} */ error) => {
    if (error.name !== "InvalidStateError" || !kept(KEPT)) throw error; // perhaps it is a subscription of the page's own
    await (await pushManager.getSubscription())?.unsubscribe(); // ours, with an earlier key of the server
    return pushManager.subscribe(wanted);
  });
  await server.call("/push/subscriptions", { method: "POST", headers: HEADERS, body: JSON.stringify(subscription) });
  keep(KEPT, user);
  keep(RENEWED, `${Date.now()}`);
  return true;
}

/** @param {Server} server */
async function unsubscribe(server) {
  const subscription = await (await manager())?.getSubscription();
  const body = JSON.stringify({ endpoint: subscription?.endpoint });
  if (subscription) await server.call("/push/subscriptions", { method: "DELETE", headers: HEADERS, body });
  keep(KEPT, "");
  await subscription?.unsubscribe();
}

const manager = async () => (await navigator.serviceWorker.getRegistration())?.pushManager;

/** @param {Server} server @returns {any} */
function workerUrl({ base }) {
  const url = `${base}/static/belfry-push.js`;
  const types = Reflect.get(globalThis, "trustedTypes");
  if (!types) return url;
  policy ??= types.createPolicy("belfry-push", {
    createScriptURL: (/** @type {string} */ wanted) => {
      if (wanted === url) return wanted;
      throw new TypeError(`Expected ${url}, got ${wanted}`);
    },
  });
  return policy.createScriptURL(url);
}

/** @param {string} name */
function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage is blocked
  }
}

/** @param {string} name @param {string} value */
function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // storage is blocked: the setting is shown as off, and can be taken again
  }
}
