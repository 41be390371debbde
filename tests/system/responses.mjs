// Uses the Responses API by OpenAI's own client for Node: a whole response, a stream, and a background stream that is resumed.
import OpenAI from "./browser/node_modules/openai/index.mjs";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const asked = { model: "m", input: "hi" };

const whole = (await client.responses.create(asked)).output_text;

let streamed = "";
const stream = client.responses.stream(asked).on("response.output_text.delta", ({ delta }) => (streamed += delta));
await stream.finalResponse();

let resumed = "";
let [id, after] = ["", -1];
const isDelta = ({ type }) => type === "response.output_text.delta";
for await (const event of await client.responses.create({ ...asked, background: true, stream: true })) {
  if (event.type === "response.created") id = event.response.id;
  after = event.sequence_number;
  if (isDelta(event)) {
    resumed += event.delta;
    break;
  }
}
let status = "";
for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: after })) {
  if (isDelta(event)) resumed += event.delta;
  if (event.type === "response.completed") status = event.response.status;
}
await client.responses.delete(id);
const gone = await client.responses.retrieve(id).catch((error) => error);
console.log(JSON.stringify({ whole, streamed, resumed, status, deleted: gone.status }));
