// The tabs of one browser, one of which leads.

export const PULSE_MS = 3_000;

const FROZEN_MS = 10_000;

/**
 * The tabs of one browser that want the same stream. One tab leads: it opens the stream and tells the others what it
 * receives. Over HTTP/1.1 browsers open six connections to a host, for all tabs together.
 *
 * The leader holds a Web Lock, so another tab takes over when it closes. A frozen leader keeps the lock. A visible tab
 * steals it: at once if the leader announced the freeze, otherwise when the leader does not answer. The old leader notices
 * this when it thaws. Two tabs may lead for a moment: both tell the same, and the others ignore what they know already.
 */
export class TabGroup {
  static get isPossible() {
    return "locks" in navigator && "BroadcastChannel" in globalThis; // Web Locks need https or localhost
  }

  leads = false;
  #name;
  #on;
  /** @type {BroadcastChannel | null} */ #channel = null;
  #waiting = new AbortController();
  #asked = 0; // the number of the latest request for the lock; older ones are ignored
  #release = () => {};
  #heardAt = 0;
  #timer = 0;

  /**
   * @param {string} name
   * @param {{lead: () => void, stepDown: () => void, ask: () => void, message: (message: any) => void}} on
   */
  constructor(name, on) {
    this.#name = name;
    this.#on = on;
  }

  join() {
    if (!TabGroup.isPossible) return this.#lead();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data: { byLeader, isFreezing, message } }) => {
      if (isFreezing) return this.#replaceLeader();
      if (byLeader) this.#heardAt = Date.now();
      this.#on.message(message);
    };
    this.#timer = setInterval(() => this.#checkPulse(), PULSE_MS);
    this.wake();
    this.#queue();
  }

  leave() {
    clearInterval(this.#timer);
    this.#waiting.abort();
    this.#release();
    this.leads = false;
    this.#channel?.close();
    this.#channel = null;
  }

  /**
   * The page is about to be frozen. A lock that is released now stays held in Chromium until the page thaws, so a visible
   * tab has to steal it.
   */
  freeze() {
    if (this.leads) this.#channel?.postMessage({ isFreezing: true });
    this.leave();
  }

  /** The number of tabs: each of them holds the lock or waits for it. 0: unknown. */
  async size() {
    if (this.#channel === null) return 0;
    const { held = [], pending = [] } = await navigator.locks.query();
    const here = [...held, ...pending].filter(({ name }) => name === this.#name);
    return new Set(here.map(({ clientId }) => clientId)).size; // a page may have several clients
  }

  /** @param {any} message tells every other tab */
  post(message) {
    this.#channel?.postMessage({ byLeader: this.leads, message });
  }

  /** The page is visible again. While it was hidden, it asked for no pulse. */
  wake() {
    this.#heardAt = Date.now();
    if (!this.leads) this.#on.ask();
  }

  #queue() {
    this.#waiting = new AbortController();
    this.#hold({ signal: this.#waiting.signal });
  }

  /** @param {LockOptions} options */
  #hold(options) {
    const asked = ++this.#asked;
    const held = () => new Promise((resolve) => {
      if (this.#channel === null || asked !== this.#asked) return resolve(undefined); // the tab left or asked again meanwhile
      this.#release = () => resolve(undefined);
      this.#lead();
    });
    navigator.locks.request(this.#name, options, held).catch(() => asked === this.#asked && this.#onLost());
  }

  #lead() {
    this.leads = true;
    this.#on.lead();
  }

  /** The lock was stolen, perhaps before this tab learned that it had it. */
  #onLost() {
    if (this.#channel === null) return;
    if (this.leads) this.#on.stepDown();
    this.leads = false;
    this.#queue();
  }

  #checkPulse() {
    if (this.leads || document.hidden) return;
    this.#on.ask();
    if (Date.now() - this.#heardAt >= FROZEN_MS) this.#replaceLeader();
  }

  #replaceLeader() {
    if (this.leads || document.hidden) return;
    this.#waiting.abort();
    this.#hold({ steal: true });
  }
}
