// belfry-client/react: the feed as a hook, and the bell as a component.

import { createElement, useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { EMPTY, Feed } from "./feed.js";

/** @import { BelfryFeed as FeedElement } from "../../../app/static/modules/element.js" */
/** @import { Message, Problem, State, TokenProvider } from "../../../app/static/modules/types.js" */
/** @import { Texts } from "../../../app/static/modules/texts.js" */
/** @import { FeedOptions, FeedState } from "./feed.js" */

const nothing = () => () => {};

/**
 * The feed of the signed-in user, connected while the component is mounted. A change of `url`, `tokenUrl`, `topics` or
 * `events` connects anew; `token` may be another function at each render.
 *
 * `feed` is null on the server and until the component is mounted.
 * @param {FeedOptions} [options] @returns {FeedState & {feed: Feed | null}}
 */
export function useBelfry(options = {}) {
  const latest = useRef(options);
  latest.current = options;
  const [feed, setFeed] = useState(/** @type {Feed | null} */ (null));
  const { url, tokenUrl, topics, events } = options;
  const hasToken = options.token !== undefined;
  useEffect(() => {
    const token = hasToken ? () => /** @type {TokenProvider} */ (latest.current.token)() : undefined;
    const made = new Feed({ ...latest.current, token });
    setFeed(made);
    made.open();
    return () => made.close();
  }, [url, tokenUrl, topics?.join(" "), events?.join(" "), hasToken]);
  const subscribe = useCallback((/** @type {() => void} */ changed) => feed?.subscribe(changed) ?? nothing(), [feed]);
  const current = useSyncExternalStore(subscribe, () => feed?.current ?? EMPTY, () => EMPTY);
  return { ...current, feed };
}

/**
 * @typedef {object} BelfryFeedProps
 * @property {string | undefined} [url] where Belfry is; by default the page's origin
 * @property {string | undefined} [tokenUrl] the address in your back end that answers a token
 * @property {TokenProvider | undefined} [token] gets a token instead
 * @property {string[] | undefined} [topics] by default those that the token names
 * @property {string[] | undefined} [events] event types that arrive live, besides `message`
 * @property {boolean | undefined} [inline] show the feed as a part of the page, without the bell
 * @property {boolean | undefined} [noToasts]
 * @property {string | undefined} [lang]
 * @property {Partial<Texts> | undefined} [texts]
 * @property {string | undefined} [className]
 * @property {((event: CustomEvent<{message: Message}>) => void) | undefined} [onMessage] cancel the event to show no toast
 * @property {((event: CustomEvent<{message: Message}>) => void) | undefined} [onOpen] cancel the event to navigate yourself
 * @property {((event: CustomEvent<{message: Message, action: {id?: string}}>) => void) | undefined} [onAction]
 * @property {((event: CustomEvent<{unread: number}>) => void) | undefined} [onUnread]
 * @property {((event: CustomEvent<{state: State, reason: string}>) => void) | undefined} [onState]
 * @property {((event: CustomEvent<Problem>) => void) | undefined} [onError] tells developers what keeps it from connecting
 */

const EVENTS = /** @type {const} */ (["Message", "Open", "Action", "Unread", "State", "Error"]);

/**
 * `value`, or the one of an earlier render while both have equal members: callers write arrays and objects in place.
 * @template {object | undefined} T @param {T} value @returns {T}
 */
function useSame(value) {
  const kept = useRef(value);
  const members = (/** @type {T} */ of) => Object.entries(of ?? {});
  const isSame = members(value).length === members(kept.current).length && members(value).every(([name, member]) => Reflect.get(kept.current ?? {}, name) === member);
  if (!isSame || !value !== !kept.current) kept.current = value;
  return kept.current;
}

/** The bell with its feed. A server renders an empty element, which fills in the browser. @param {BelfryFeedProps} props */
export function BelfryFeed(props) {
  const latest = useRef(props);
  latest.current = props;
  const shown = useRef(/** @type {FeedElement | null} */ (null));
  const topics = useSame(props.topics);
  const texts = useSame(props.texts);
  const hasToken = props.token !== undefined;
  const token = useMemo(() => (hasToken ? () => /** @type {TokenProvider} */ (latest.current.token)() : undefined), [hasToken]);
  useEffect(() => void import("./element.js"), []);
  useEffect(() => {
    const listening = new AbortController();
    for (const name of EVENTS) {
      const tell = (/** @type {any} */ event) => latest.current[`on${name}`]?.(event);
      shown.current?.addEventListener(`belfry-${name.toLowerCase()}`, tell, { signal: listening.signal });
    }
    return () => listening.abort();
  }, []);
  const fill = useCallback((/** @type {FeedElement | null} */ element) => {
    shown.current = element;
    // A defined element has its properties already, and must have them before it enters the page. One that is defined
    // later takes over what it finds.
    if (element) Object.assign(element, { token, topics, texts });
  }, [token, topics, texts]);
  return createElement("belfry-feed", {
    ref: fill,
    ...(globalThis.customElements?.get("belfry-feed") && { token, topics, texts }), // React would write attributes otherwise
    server: props.url,
    "token-url": props.tokenUrl,
    events: props.events?.join(" "),
    inline: props.inline ? "" : undefined,
    "no-toasts": props.noToasts ? "" : undefined,
    lang: props.lang,
    class: props.className,
  });
}
