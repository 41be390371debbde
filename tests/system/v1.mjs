// Asks beside chat by OpenAI's own client for Node: prints vectors, a text written down, sound, and the error of what is not relayed.
import OpenAI from "./browser/node_modules/openai/index.mjs";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const { data } = await client.embeddings.create({ model: "m", input: "hi", encoding_format: "float" });
const { text } = await client.audio.transcriptions.create({ model: "m", file: new File(["sound"], "a.wav") });
const speech = await client.audio.speech.create({ model: "m", voice: "alloy", input: "hi" });
const sound = (await speech.arrayBuffer()).byteLength;
const refused = await client.files.list().catch((error) => error);
const told = refused.message.includes("It relays POST /v1/chat/completions");
console.log(JSON.stringify({ vector: data[0].embedding, text, sound, status: refused.status, code: refused.code, told }));
