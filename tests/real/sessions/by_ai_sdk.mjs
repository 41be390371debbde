// A session of the AI SDK, by its OpenAI-compatible provider and by its chat: `by_ai_sdk.mjs ADDRESS KEY UPSTREAM`.
import { createOpenAICompatible } from "../../system/browser/node_modules/@ai-sdk/openai-compatible/dist/index.mjs";
import { Chat } from "../../system/browser/node_modules/@ai-sdk/react/dist/index.mjs";
import {
  DefaultChatTransport, generateText, jsonSchema, stepCountIs, streamText, tool,
} from "../../system/browser/node_modules/ai/dist/index.mjs";
import { stops } from "./stops.mjs";

const [baseURL, apiKey, upstream] = process.argv.slice(2);
const model = createOpenAICompatible({ name: "belfry", baseURL, apiKey, includeUsage: true })("words");
const schema = jsonSchema({ type: "object", properties: { q: { type: "string" } } });
const find = tool({ description: "Find something.", inputSchema: schema, execute: async () => "hi!" });
const given = { model, maxRetries: 0 };
const toolLoop = { ...given, prompt: "hi#", tools: { find }, stopWhen: stepCountIs(3) };
const named = (steps) => steps.flatMap(({ toolCalls }) => toolCalls).map(({ toolName, input }) => [toolName, input]);

const streamed = await streamText({ ...given, prompt: "hi!" }).text;
const answer = await generateText({ ...given, prompt: "hi!" });
const looped = await generateText(toolLoop);
const streamedLoop = streamText(toolLoop);
const afterCall = [looped.text, await streamedLoop.text];
const refused = await generateText({ ...given, prompt: `${"a".repeat(140_000)}!` }).catch((error) => error);
const leaving = new AbortController();
let began = "";
for await (const text of streamText({ ...given, prompt: "hi?", abortSignal: leaving.signal }).textStream) {
  began += text;
  if (began.length >= "one two ".length) break;
}
leaving.abort();
const stopped = await stops(upstream);

// A chat is left in the midst of an answer and resumed by another client, with the glue of the documentation.
const api = new URL("/completions", baseURL).href;
const headers = { Authorization: `Bearer ${apiKey}` };
const transport = new DefaultChatTransport({
  api: `${api}?format=ui-message-stream`,
  headers,
  body: { model: "words" },
  prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${id}/stream?format=ui-message-stream` }),
});
const textOf = ({ lastMessage: last }) =>
  last?.role === "assistant" ? last.parts.map(({ type, text }) => (type === "text" ? text : "")).join("") : "";
const until = async (condition) => {
  for (const end = Date.now() + 60_000; !condition() && Date.now() < end; )
    await new Promise((resolve) => setTimeout(resolve, 5));
};
const failures = [];
const id = `chat-${Date.now()}`;
const first = new Chat({ id, transport, onError: (error) => failures.push(String(error)) });
const asked = first.sendMessage({ text: "hi?" });
await until(() => textOf(first));
await first.stop();
await asked;
const seen = textOf(first);
const again = new Chat({ id, transport, messages: [first.messages[0]], onError: (error) => failures.push(String(error)) });
const resumed = again.resumeStream();
await until(() => textOf(again).length > seen.length);
const { completions } = await (await fetch(api, { headers })).json();
await fetch(`${api}/${completions[0].id}`, { method: "DELETE", headers });
await resumed;

console.log(
  JSON.stringify({
    streamed,
    whole: answer.text,
    tokens: answer.usage.totalTokens,
    calls: named(looped.steps),
    streamed_calls: named(await streamedLoop.steps),
    after_call: afterCall,
    refusal: [refused.statusCode, String(refused.message)],
    began: began.slice(0, "one two ".length),
    stopped,
    resumed: seen.length > 0 && textOf(again).startsWith(seen) && textOf(again).length > seen.length,
    failures,
    cancelled: await stops(upstream),
  }),
);
