// What a page of TypeScript does with clients that two generators made of /openapi.json. tsc checks it in strict mode.
import type { components, operations } from "./schema";
import { client } from "./hey/client.gen";
import { createChatCompletion, markRead, publish, readFeed } from "./hey";

type Answer = operations["publish"]["responses"][201]["content"]["application/json"];
type Refused = operations["publish"]["responses"][422]["content"]["application/problem+json"];
export const onlyTheTarget: components["schemas"]["Publish"] = { to: "alice" };
// @ts-expect-error A message names a recipient.
export const noTarget: components["schemas"]["Publish"] = { title: "Hello" };
export const offsetOf = (answer: Answer): number | null | undefined => answer.deliveries[0]?.offset;
export const codeOf = (refused: Refused): string => refused.code;

declare const process: { argv: string[] };
const [, , baseUrl, token] = process.argv;
client.setConfig({ baseUrl: baseUrl ?? "", auth: token ?? "" });
const sent = await publish({ body: { to: "alice", id: "hey-1", title: "Hello" } });
const refused = await publish({ body: { to: "" } });
const feed = await readFeed();
const marked = await markRead({ body: { ids: ["hey-1"] } });
const answered = await createChatCompletion({ body: { model: "m", messages: [{ role: "user", content: "hi" }] } });
const title: string | undefined = feed.data?.messages[0]?.title;
const unread: number | undefined = marked.data?.unread;
const problem = refused.error && "code" in refused.error ? refused.error.code : undefined;
console.log(JSON.stringify({ id: sent.data?.id, problem, title, unread, chat: answered.data }));
