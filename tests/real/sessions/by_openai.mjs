// A session of OpenAI's own client for Node, by chat and by responses: `by_openai.mjs ADDRESS KEY UPSTREAM`.
import OpenAI from "../../system/browser/node_modules/openai/index.mjs";
import { stops } from "./stops.mjs";

const [baseURL, apiKey, upstream] = process.argv.slice(2);
const model = "words";
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (content, others = {}) =>
  client.chat.completions.create({ model, messages: [{ role: "user", content }], ...others });
const parameters = { type: "object", properties: { q: { type: "string" } } };
const tools = [{ type: "function", function: { name: "find", description: "Find something.", parameters } }];
const named = (calls) => calls.map(({ function: { name, arguments: given } }) => [name, JSON.parse(given)]);

let streamed = "";
for await (const part of await ask("hi!", { stream: true })) streamed += part.choices[0]?.delta?.content ?? "";
const answer = await ask("hi!");
const { tool_calls: calls } = (await ask("hi#", { tools })).choices[0].message;
const together = client.chat.completions.stream({ model, messages: [{ role: "user", content: "hi#" }], tools });
const { tool_calls: streamedCalls } = (await together.finalChatCompletion()).choices[0].message;
const refused = await ask(`${"a".repeat(140_000)}!`).catch((error) => error);
let began = "";
for await (const part of await ask("hi?", { stream: true })) {
  began += part.choices[0]?.delta?.content ?? "";
  if (began.length >= "one two ".length) break; // this client then leaves
}
const stopped = await stops(upstream);

// A response in the background is left in the midst, resumed, and at last cancelled.
let id = "";
let seen = "";
let last = 0;
for await (const event of await client.responses.create({ model, input: "hi?", background: true, stream: true })) {
  if (event.type === "response.created") id = event.response.id;
  if (event.type !== "response.output_text.delta") continue;
  seen += event.delta;
  last = event.sequence_number;
  break;
}
let rest = "";
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: last })) {
  if (event.type === "response.output_text.delta") rest += event.delta;
  if (rest.length > 1_000) break;
}
const cancelled = await client.responses.cancel(id);
const text = cancelled.output.flatMap(({ content }) => content ?? []).map((part) => part.text).join("");

console.log(
  JSON.stringify({
    streamed,
    whole: answer.choices[0].message.content,
    tokens: answer.usage.total_tokens,
    calls: named(calls),
    streamed_calls: named(streamedCalls),
    refusal: [refused.status, String(refused.message)],
    began,
    stopped,
    resumed: text.startsWith(seen + rest) && rest.length > 1_000,
    status: cancelled.status,
    cancelled: await stops(upstream),
  }),
);
