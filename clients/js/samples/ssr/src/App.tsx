import { BelfryFeed, useBelfry } from "belfry-client/react";

const belfry = { url: import.meta.env.VITE_BELFRY_URL as string, tokenUrl: "/belfry-token" };

export function App() {
  const { messages, unread } = useBelfry(belfry);
  return (
    <>
      <BelfryFeed {...belfry} />
      <p>{unread} unread</p>
      <ul>
        {messages.map(({ id, title }) => (
          <li key={id}>{title}</li>
        ))}
      </ul>
    </>
  );
}
