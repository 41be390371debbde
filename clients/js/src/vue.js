// belfry-client/vue: the feed as a composable. For the bell, import "belfry-client/element" and use `<belfry-feed>`.

import { computed, onMounted, onUnmounted, shallowRef } from "vue";
import { EMPTY, Feed } from "./feed.js";

/** @import { FeedOptions, FeedState } from "./feed.js" */

/**
 * The feed of the signed-in user, connected while the component is mounted. On a server it stays empty.
 *
 * `feed` makes changes, and is null until the component is mounted; the rest are refs of what to show.
 * @param {FeedOptions} [options]
 */
export function useBelfry(options = {}) {
  const current = shallowRef(/** @type {FeedState} */ (EMPTY));
  const feed = shallowRef(/** @type {Feed | null} */ (null));
  onMounted(() => {
    const made = new Feed(options);
    made.subscribe(() => { current.value = made.current; });
    feed.value = made;
    made.open();
  });
  onUnmounted(() => feed.value?.close());
  return {
    feed,
    messages: computed(() => current.value.messages),
    unread: computed(() => current.value.unread),
    state: computed(() => current.value.state),
    reason: computed(() => current.value.reason),
    isLoading: computed(() => current.value.isLoading),
    hasFailed: computed(() => current.value.hasFailed),
    hasMore: computed(() => current.value.hasMore),
  };
}
