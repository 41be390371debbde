// A service worker that shows what Belfry pushes. A click opens the message's address and marks the message as read.
//
//   navigator.serviceWorker.register("/static/belfry-push.js", { scope: "/" });  // for pages on Belfry's own origin
//
// For pages of another origin, a service worker of theirs includes it:
//
//   self.belfry = { server: "https://push.example.com", icon: "/icon.png" };
//   importScripts("https://push.example.com/static/belfry-push.js");
//
// It keeps no credential. Each push brings a proof with which its one message can be marked as read.

(() => {
  /** @typedef {{id: string, user: string, proof: string, tag: string, title?: string, body?: string, url?: string, time?: string, actions?: {label: string, url?: string, id?: string}[]}} Push */

  const worker = /** @type {any} */ (self);
  /** @type {{server?: string, icon?: string, badge?: string, title?: string}} */
  const settings = worker.belfry ?? {};
  const server = (settings.server ?? new URL("..", worker.location.href).href).replace(/\/+$/, "");
  // Safari ends the subscription of a site that gets a push and shows nothing.
  const mustShow = /AppleWebKit\//.test(navigator.userAgent) && !/Chrom/.test(navigator.userAgent);

  // A worker that includes this script decides itself when it takes over.
  if (worker.location.pathname.endsWith("/belfry-push.js")) worker.addEventListener("install", () => worker.skipWaiting());
  worker.addEventListener("push", (/** @type {any} */ event) => {
    const push = read(event.data);
    if (push) event.waitUntil(show(push));
  });
  worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
    const push = /** @type {Push | undefined} */ (event.notification.data?.belfry);
    if (!push) return;
    event.notification.close();
    const action = /^belfry-(\d)$/.exec(event.action)?.[1];
    const url = action ? (push.actions?.[Number(action)]?.url ?? push.url) : push.url;
    event.waitUntil(Promise.allSettled([markRead(push), open(url)]));
  });

  /** The push, unless it is another server's. @param {{json(): any} | null} data @returns {Push | null} */
  function read(data) {
    try {
      const push = data?.json();
      return push?.id && push.proof && push.tag ? push : null;
    } catch {
      return null;
    }
  }

  /** @param {Push} push */
  async function show(push) {
    const { title, body, tag, time, actions = [] } = push;
    const pages = await worker.clients.matchAll({ type: "window" });
    const isSeen = pages.some((/** @type {any} */ page) => page.visibilityState === "visible");
    if (isSeen && !mustShow) return; // the page shows the message
    await worker.registration.showNotification(title || body || settings.title || worker.location.hostname, {
      ...(title && body && { body }),
      ...(settings.icon && { icon: settings.icon }),
      ...(settings.badge && { badge: settings.badge }),
      ...(time && { timestamp: Date.parse(time) }),
      tag,
      renotify: true,
      actions: actions.map(({ label }, at) => ({ action: `belfry-${at}`, title: label })),
      data: { belfry: push },
    });
  }

  /** @param {Push} push */
  function markRead({ user, id, proof }) {
    const headers = { "Content-Type": "application/json" };
    return fetch(`${server}/push/read`, { method: "POST", headers, body: JSON.stringify({ user, id, proof }), credentials: "omit" });
  }

  /** Show a page with this address: one that is open already, or a new one. @param {string | undefined} text */
  async function open(text) {
    const url = address(text);
    const pages = await worker.clients.matchAll({ type: "window" });
    const known = pages.find((/** @type {any} */ page) => (text ? page.url === url : page.url.startsWith(worker.registration.scope)));
    return known ? known.focus() : worker.clients.openWindow(url);
  }

  /** Only http(s): `javascript:` and the like must not be opened. @param {string | undefined} text */
  function address(text) {
    const { scope } = worker.registration;
    try {
      const { href, protocol } = new URL(text || scope, scope); // older browsers have no URL.canParse
      return protocol === "https:" || protocol === "http:" ? href : scope;
    } catch {
      return scope;
    }
  }
})();
