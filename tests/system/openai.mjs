// Asks by OpenAI's own client for Node: prints the text of a streamed answer, of a whole one, and the error of a refusal.
import OpenAI from "./browser/node_modules/openai/index.mjs";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];

let streamed = "";
let usage = null;
const options = { include_usage: true };
for await (const part of await client.chat.completions.create({ model, messages, stream: true, stream_options: options })) {
  streamed += part.choices[0]?.delta?.content ?? "";
  usage = part.usage ?? usage;
}
const whole = await client.chat.completions.create({ model, messages });
const models = [];
for await (const { id } of client.models.list()) models.push(id);
const refused = await client.chat.completions.create({ model: "refused", messages }).catch((error) => error);
console.log(JSON.stringify({
  models, streamed, tokens: usage?.total_tokens, whole: whole.choices[0].message.content, status: refused.status, code: refused.code,
}));
