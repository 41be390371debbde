import type { Message } from "belfry-client";
import { useBelfry } from "belfry-client/vue";
import { computed } from "vue";

export const belfry = { url: import.meta.env.VITE_BELFRY_URL as string, tokenUrl: "/belfry-token" };

export function useInbox() {
  const { messages, unread, state, feed } = useBelfry(belfry);
  const titles = computed(() => messages.value.map((message) => message.title ?? ""));
  const done = (message: Message) => feed.value?.markRead(message);
  return { messages, titles, unread, state, done };
}
