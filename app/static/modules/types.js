// The types that the modules share. No browser loads this file.

/** @typedef {{label: string, url?: string, id?: string}} Action */
/**
 * @typedef {object} Message As it was published; `read` and `archived` are this user's.
 * @property {string} id
 * @property {string} time RFC 3339
 * @property {string} [event]
 * @property {string} [key] a later message with the same key takes the earlier one's place
 * @property {string} [title]
 * @property {string} [body]
 * @property {string} [url]
 * @property {"info" | "success" | "warning" | "error"} [level]
 * @property {string[]} [tags]
 * @property {Action[]} [actions]
 * @property {unknown} [data]
 * @property {string} [topic]
 * @property {true} [everyone]
 * @property {string} [expires_at] RFC 3339
 * @property {boolean} [read]
 * @property {boolean} [archived]
 */
/** @typedef {{messages: Message[], next: string | null, unread: number, cursor: string, revision?: number}} Page */
/**
 * @typedef {object} RunAnswer What the server knows of a run.
 * @property {string} id
 * @property {"running" | "done" | "stopped" | "failed"} status
 * @property {string} model
 * @property {string} title the beginning of the question
 * @property {string} started RFC 3339
 * @property {string | null} ended RFC 3339
 * @property {{code: string, detail: string}} [error]
 * @property {string} [text] the answer so far; a list doesn't tell it
 * @property {string | null} [finish_reason] why the model stopped
 * @property {string} [refusal] what the model said instead of an answer
 * @property {string} [reasoning] what the model thought before it answered
 * @property {{function: {name: string}}[]} [tool_calls] what the model wants called
 */
/**
 * @typedef {object} Block What the stream said: one event.
 * @property {string} type
 * @property {any} data
 * @property {string} cursor the place after it
 * @property {string} [end] the place from which on it is known, where that is not `cursor`: for each message of a page except the last
 * @property {boolean} kept whether it has a place in a log; an event that is not kept does not move the cursor
 */
/**
 * @typedef {object} Problem What keeps a client from connecting, for developers.
 * @property {string} code see `Refusal`
 * @property {number} status of the answer; 0 without one
 * @property {string} detail what was expected, and what came
 * @property {string} remedy what to do about it, or ""
 */
/** @typedef {{type: string, data: string, cursor: string, kept: boolean}} StreamEvent One event as the stream sent it, see `Block`. */
/**
 * The state of the connection: `live` over a stream; `polling` while a proxy holds streams back; `waiting` for the next
 * attempt; `stopped` by the server until the user acts; `denied` because there is no valid credential.
 * @typedef {"idle" | "connecting" | "live" | "polling" | "waiting" | "stopped" | "denied"} State
 */

/** @typedef {() => string | Promise<string>} TokenProvider */
/**
 * @typedef {object} ClientOptions
 * @property {string | undefined} [url] where Belfry is, with a path where it is below one; by default where this module came from
 * @property {TokenProvider | undefined} [token] gets a token of the user; without it and `tokenUrl` the session cookie counts
 * @property {string | undefined} [tokenUrl] the address in your back end that answers a token
 * @property {string[] | undefined} [topics] by default those that the token names
 */

/** @typedef {{label: string, tag?: string, topic?: string, level?: string}} TabWish A tab as a page defines it. */
/**
 * @typedef {object} CustomTab A tab of the feed.
 * @property {string} name `all`, `unread`, `archived`, or `tag:billing` and the like
 * @property {string} [label] of a tab that the page defined
 * @property {"tag" | "topic" | "level"} [kind]
 * @property {string} [value]
 */

/**
 * What a view asks of its feed.
 * @typedef {object} Wanted
 * @property {(message: Message, read: boolean) => void} mark
 * @property {(message: Message, archived: boolean) => void} archive
 * @property {(message: Message) => void} remove
 * @property {(name: string, detail: object) => boolean} announce tells the host page; false: the page handles it
 * @property {(root: HTMLElement) => void} [settings] the settings are shown for the first time
 */

export {};
