// Finds users by the beginning of their ids while one types, and offers them in the field's datalist.

import { here } from "./ids.js";

const PAUSE_MS = 120; // after a keystroke
const OFFERED = 20;

/** @param {string} name @param {boolean} online @param {string} before */
function option(name, online, before) {
  const made = document.createElement("option");
  made.value = before + name;
  if (online) made.label = `${made.value} (online)`;
  return made;
}

/**
 * Offer users in the field `input`, which has a datalist. `many`: whether it holds several ids now, separated by commas,
 * the last of which is looked for; null, that it holds no user at all.
 * @param {HTMLInputElement} input @param {() => boolean | null} [many]
 */
export function offerUsers(input, many = () => false) {
  /** @type {AbortController | undefined} */
  let asking;
  /** @type {number | undefined} */
  let timer;

  async function offer() {
    asking?.abort();
    asking = new AbortController();
    const before = many() ? (/^.*,\s*/.exec(input.value)?.[0] ?? "") : "";
    const query = new URLSearchParams({ prefix: input.value.slice(before.length).trim(), limit: String(OFFERED) });
    const told = many() === null ? { users: [] } : await fetch(`${here("/users")}?${query}`, { signal: asking.signal })
      .then((answer) => (answer.ok ? answer.json() : { users: [] }))
      .catch(() => null); // a later keystroke asks
    if (!told) return;
    input.list?.replaceChildren(...told.users.map((/** @type {{user: string, online: boolean}} */ { user, online }) => option(user, online, before)));
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(offer, PAUSE_MS);
  });
  input.addEventListener("focus", offer);
}
