// A page with the AI SDK's `useChat`. The test puts the documentation's sample in the place of SAMPLE.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

const chatId = location.hash.slice(1);
const savedMessages = JSON.parse(localStorage.getItem(chatId) ?? "[]");

function Part({ type, text, state }) {
  return text === undefined ? <i>{`${type} ${state}`}</i> : <span className={type}>{text}</span>;
}

function App() {
  SAMPLE;
  useEffect(() => localStorage.setItem(chatId, JSON.stringify(chat.messages.filter(({ role }) => role === "user"))));
  return (
    <main>
      {chat.messages.map(({ id, role, parts }) => (
        <p key={id} className={role}>
          {parts.filter(({ type }) => type !== "step-start").map((part, at) => <Part key={at} {...part} />)}
        </p>
      ))}
      <button onClick={() => chat.sendMessage({ text: "hi" })}>Ask</button>
      <button onClick={() => chat.stop()}>Leave</button>
      <output>{chat.error ? String(chat.error) : chat.status}</output>
    </main>
  );
}

createRoot(document.getElementById("app")).render(<App />);
