import type { Message } from "belfry-client";
import { BelfryFeed, useBelfry } from "belfry-client/react";

const belfry = { url: import.meta.env.VITE_BELFRY_URL as string, tokenUrl: "/belfry-token" };

export function App() {
  return (
    <>
      <header>
        <BelfryFeed {...belfry} texts={{ title: "Inbox" }} onOpen={(event) => console.info(event.detail.message.id)} />
      </header>
      <main>
        <Inbox />
      </main>
    </>
  );
}

/** A view of your own of the same feed. */
function Inbox() {
  const { messages, unread, state, hasMore, feed } = useBelfry(belfry);
  return (
    <section aria-label="Inbox" data-state={state}>
      <h1>{unread} unread</h1>
      <ul>
        {messages.map((message: Message) => (
          <li key={message.id}>
            {message.title}
            {!message.read && <button onClick={() => feed?.markRead(message)}>Done</button>}
          </li>
        ))}
      </ul>
      {hasMore && <button onClick={() => feed?.more()}>More</button>}
    </section>
  );
}
