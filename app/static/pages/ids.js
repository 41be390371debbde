// Addresses of this server, for its pages: below the path that a proxy serves it at, and with ids in them.

const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/** The address of a path of this server, such as `/publish`. @param {string} path @returns {string} */
export const here = (path) => ROOT + path;

/** The path of this page, without that of the server. */
export const pagePath = () => location.pathname.slice(ROOT.length);

// A browser resolves these before it sends anything, and some proxies decode an encoded slash.
const SURVIVES_NO_PATH = /^\.{1,2}$|\//;

/**
 * The address of one entry of a collection, or of what is below it. An id that survives no path stands in the query.
 * @param {string} collection such as `/messages` @param {string} id @param {string} [rest] such as `/content`
 * @param {Record<string, string>} [query] @returns {string}
 */
export function addressOf(collection, id, rest = "", query = {}) {
  const hidden = SURVIVES_NO_PATH.test(id);
  const parameters = String(new URLSearchParams({ ...(hidden && { id }), ...query }));
  const path = `${here(collection)}/${hidden ? "~" : encodeURIComponent(id)}${rest}`;
  return parameters ? `${path}?${parameters}` : path;
}

/** The address of a user's message. @param {string} user @param {string} message @returns {string} */
export function traceOf(user, message) {
  const hidden = SURVIVES_NO_PATH.test(message);
  return addressOf("/users", user, `/messages/${hidden ? "~" : encodeURIComponent(message)}`, hidden ? { message } : {});
}

/**
 * Whether `found`, the first of the users whose ids begin with `user`, is this user and has ever opened a feed. The
 * server keeps ids in one form of Unicode, and also knows users who only received messages, perhaps by mistake.
 * @param {{user: string, online: boolean, visited?: boolean} | undefined} found @param {string} user
 */
export const isVisitor = (found, user) => found?.user === user.normalize() && (found.online || found.visited !== false);
