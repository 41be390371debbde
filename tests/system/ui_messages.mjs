// Chats by the AI SDK's own `Chat`, which `useChat` of `@ai-sdk/react` is made of: asks, leaves in mid-answer, and resumes in another client.
import { Chat } from "./browser/node_modules/@ai-sdk/react/dist/index.mjs";
import { DefaultChatTransport } from "./browser/node_modules/ai/dist/index.mjs";

const [base, token, id] = process.argv.slice(2);

// The glue of the documentation.
const transport = new DefaultChatTransport({
  api: `${base}/completions?format=ui-message-stream`,
  headers: { Authorization: `Bearer ${token}` },
  body: { model: "m" },
  prepareReconnectToStreamRequest: ({ id }) => ({ api: `${base}/completions/${id}/stream?format=ui-message-stream` }),
});

const failures = [];
const onError = (error) => failures.push(String(error));
const first = new Chat({ id, transport, onError });
const fresh = new Chat({ id: `${id}-none`, transport, onError });
await fresh.resumeStream();

const asked = first.sendMessage({ text: "hi" });
const until = Date.now() + 20_000;
const textOf = ({ lastMessage: last }) =>
  last?.role === "assistant" ? last.parts.map(({ type, text }) => (type === "text" ? text : "")).join("") : "";
while (!textOf(first) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
const seen = textOf(first);
await first.stop(); // the page is left
await asked;

const again = new Chat({ id, transport, onError, messages: [first.messages[0]] });
const resumed = again.resumeStream();
console.error("resumed");
await resumed;
await again.resumeStream(); // once more, after the end

const parts = again.lastMessage.parts.filter(({ type }) => type !== "step-start");
console.log(
  JSON.stringify({
    none: fresh.messages.length,
    seen,
    roles: again.messages.map(({ role }) => role),
    parts: parts.map(({ type, text, input, state }) => ({ type, text, input, state })),
    failures,
  }),
);
