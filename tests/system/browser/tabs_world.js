// Several tabs' clients in a world of their own: server, streams, channels, locks and clock are played, and the dice decide
// what happens next. Everything that waits lies in a queue, in the order that the real thing guarantees; between queues there
// is none. So every order of events can come up, and a seed brings it up again.
async ([seed, steps]) => {
  const PAGE = 2;
  const TABS = 4;
  let state = seed;
  const random = () => { // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const pick = (list) => list[Math.floor(random() * list.length)];
  const { port1, port2 } = new MessageChannel();
  const settled = () => new Promise((resolve) => { port1.onmessage = resolve; port2.postMessage(0); });

  let current = null; // whose code runs; what it begins is its own
  const queues = new Map();
  const enqueue = (name, tab, run) => queues.set(name, [...(queues.get(name) ?? []), { tab, run }]);
  const ready = () => [...queues].filter(([, [{ tab }]]) => !tab?.isFrozen).map(([name]) => name);
  const as = async (tab, run) => {
    current = tab;
    run();
    await settled();
    current = null;
  };
  const deliver = async (name) => {
    const [{ tab, run }, ...rest] = queues.get(name);
    if (rest.length) queues.set(name, rest);
    else queues.delete(name);
    await as(tab, run);
  };

  // The clock
  let now = 0;
  let lastId = 0;
  const timers = new Map();
  const arm = (every) => (run, ms = 0) => (timers.set(++lastId, { at: now + ms, run, every: every && ms, tab: current }), lastId);
  Math.random = random;
  Date.now = () => now;
  window.setTimeout = arm(false);
  window.setInterval = arm(true);
  window.clearTimeout = window.clearInterval = (id) => timers.delete(id);
  const pass = async (ms) => {
    now += ms;
    for (const [id, timer] of [...timers]) {
      if (timer.at > now || timer.tab?.isFrozen || !timers.has(id)) continue;
      if (timer.every) timer.at = now + timer.every;
      else timers.delete(id);
      await as(timer.tab, timer.run);
    }
  };

  // The server: one log
  let epoch = 1;
  let log = [];
  let published = 0;
  let isDown = false;
  let mayFail = true;
  const sources = new Set();
  const place = (offset) => `e${epoch}.${offset}-x.0`;
  const offsetOf = (cursor) => (cursor.startsWith(`e${epoch}.`) ? Number(cursor.split(/[.-]/)[1]) : -1);
  const publish = () => {
    log.push({ id: `m${++published}`, number: published });
    for (const source of sources) source.say("message", log.at(-1), place(log.length));
  };
  const read = () => {
    for (const source of sources) source.say("read", { number: published, unread: published }, place(log.length));
  };
  const loseHistory = () => {
    epoch++;
    log = [];
    for (const source of sources) source.say("reset", {}, place(0));
  };
  const tell = (query) => {
    for (const source of sources) if (source.name === query.get("connection")) source.tabs = Number(query.get("tabs"));
    return new Response(null, { status: 204 });
  };
  const answer = (url) => {
    if (isDown || (mayFail && random() < 0.1)) return null;
    if (url.pathname === "/stream") return new Response("");
    if (url.pathname === "/presence/tabs") return tell(url.searchParams);
    const offset = offsetOf(url.searchParams.get("after") ?? "");
    if (offset < 0) return Response.json({ code: "history_lost" }, { status: 410 });
    const messages = log.slice(offset, offset + PAGE);
    return Response.json({ messages, unread: published, revision: 0, cursor: place(offset + messages.length), next: null });
  };
  window.fetch = (address, { signal }) => new Promise((resolve, reject) => {
    const [name, tab] = [`fetch ${++lastId}`, current];
    enqueue(name, null, () => {
      const said = answer(new URL(address));
      enqueue(name, tab, () => (said && !signal.aborted ? resolve(said) : reject(new TypeError("no answer"))));
    });
  });
  window.EventSource = class {
    static CLOSED = 2;
    readyState = 0;
    #listeners = new Map();
    #name = `stream ${++lastId}`;
    #tab = current;
    constructor(url) {
      const query = new URL(url).searchParams;
      this.name = this.#name;
      this.tabs = Number(query.get("tabs"));
      enqueue(this.#name, null, () => this.#open(query.get("last_event_id") ?? place(log.length)));
    }
    #open(cursor) {
      if (isDown) return this.fail();
      if (this.readyState === 2) return;
      sources.add(this);
      const lost = offsetOf(cursor) < 0;
      const from = lost ? log.length : offsetOf(cursor);
      if (lost) this.say("reset", {}, place(from));
      this.say("ready", { user: "u", unread: published, revision: 0, connection: this.name, behind: log.length - from }, place(from));
      for (let offset = from; offset < log.length; offset++) this.say("message", log[offset], place(offset + 1));
    }
    say(type, data, lastEventId) {
      this.last = lastEventId;
      enqueue(this.#name, this.#tab, () => {
        if (this.readyState < 2) this.#listeners.get(type)?.({ type, data: JSON.stringify(data), lastEventId, target: this });
      });
    }
    fail() {
      sources.delete(this);
      enqueue(this.#name, this.#tab, () => {
        if (this.readyState === 2) return;
        this.readyState = 2;
        this.onerror?.();
      });
    }
    addEventListener(type, listener) {
      this.#listeners.set(type, listener);
    }
    close() {
      sources.delete(this);
      this.readyState = 2;
    }
  };

  // The browser
  const channels = new Set();
  window.BroadcastChannel = class {
    #id = ++lastId;
    #tab = current;
    constructor() {
      channels.add(this);
    }
    postMessage(said) {
      for (const other of channels) {
        if (other === this) continue;
        const data = structuredClone(said);
        enqueue(`channel ${this.#id} ${other.#id}`, other.#tab, () => channels.has(other) && other.onmessage({ data }));
      }
    }
    close() {
      channels.delete(this);
    }
  };
  let holder = null;
  let waiting = [];
  const release = (one) => {
    if (holder !== one) return;
    holder = null;
    grant();
  };
  const grant = () => {
    if (holder || !waiting.length) return;
    const one = (holder = waiting.shift());
    enqueue(`lock ${one.id}`, one.tab, () => one.held().then(() => (release(one), one.resolve())));
  };
  const request = (name, { signal, steal }, held) => new Promise((resolve, reject) => {
    const one = { id: ++lastId, name, tab: current, held, resolve };
    const lose = () => enqueue(`lock ${one.id}`, one.tab, () => reject(new DOMException("", "AbortError")));
    one.lose = lose;
    signal?.addEventListener("abort", () => {
      if (!waiting.includes(one)) return;
      waiting = waiting.filter((other) => other !== one);
      lose();
    });
    if (steal) {
      waiting.unshift(one);
      holder?.lose();
      holder = null;
    } else waiting.push(one);
    grant();
  });
  const query = () => new Promise((resolve) => {
    enqueue(`query ${++lastId}`, current, () => resolve({ held: holder ? [seen(holder)] : [], pending: waiting.map(seen) }));
  });
  const seen = ({ name, tab }) => ({ name, clientId: tab.name });
  Object.defineProperty(navigator, "locks", { value: { request, query } });

  // The tabs, and what each has seen
  const { BelfryClient } = await import("/static/belfry.js");
  const faults = [];
  const tabs = new Set();
  const open = () => as({ name: `tab ${++lastId}`, isFrozen: false, client: new BelfryClient(), seen: published, wasReset: false }, () => {
    const tab = current;
    const cursor = place(log.length);
    tabs.add(tab);
    tab.client.on("message", ({ number }) => {
      if (!tabs.has(tab)) faults.push(`${number} after the end`);
      else if (number === tab.seen + 1) tab.seen = number;
      else if (number > tab.seen || !tab.wasReset) faults.push(`${number} after ${tab.seen}`);
    });
    tab.client.on("read", ({ number }) => number > tab.seen && !tab.wasReset && faults.push(`${number} read after ${tab.seen}`));
    tab.client.on("reset", () => Object.assign(tab, { seen: published, wasReset: true })); // it fetches the feed
    tab.client.open(cursor);
  });
  const close = async (tab) => {
    tabs.delete(tab);
    await as(tab, () => tab.client.close());
  };
  const something = async () => {
    const dice = random();
    const tab = pick([...tabs]);
    if (dice < 0.1) publish();
    else if (dice < 0.12) read();
    else if (dice < 0.16 && tabs.size < TABS) await open();
    else if (dice < 0.17 && tab) await close(tab);
    else if (dice < 0.19 && tab) tab.isFrozen = !tab.isFrozen;
    else if (dice < 0.2) {
      isDown = !isDown;
      if (isDown) for (const source of sources) source.fail();
    } else if (dice < 0.202) loseHistory();
    else if (dice < 0.26) await pass(500 + random() * 3_000);
    else if (ready().length) await deliver(pick(ready()));
  };
  const calm = async () => {
    for (let round = 0; round < 60; round++) {
      for (const source of sources) source.say("heartbeat", {}, source.last); // a stream that lives is not opened anew
      for (let turn = 0; ready().length && turn < 2_000; turn++) await deliver(pick(ready()));
      await pass(2_000);
    }
  };

  for (let step = 0; step < steps && !faults.length; step++) await something();
  isDown = mayFail = false;
  for (const tab of tabs) tab.isFrozen = false;
  await calm();
  publish();
  await calm();
  const left = [...tabs].filter(({ seen, client }) => seen !== published || client.unread !== published);
  const shared = [...sources].map((source) => source.tabs);
  if (shared.length > 1 || shared.some((count) => count !== tabs.size)) faults.push(`${shared} of ${tabs.size} tabs`);
  return [...faults, ...left.map(({ seen, client }) => `${seen} of ${published}, counts ${client.unread}, ${client.state}`)];
}
