// A conversation through the generated types: what does not fit the document does not compile.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[]; exit(code: number): never };

type Turn = components["schemas"]["Turn"];

const client = createClient<paths>({ baseUrl: process.argv[2]! });

function check(holds: boolean, claim: string): asserts holds {
  if (!holds) {
    console.error(`not so: ${claim}`);
    process.exit(1);
  }
}

const { data: personas } = await client.GET("/api/v1/personas");
check(personas !== undefined && personas.data.length === 3, "three personas are there");

const first = await client.POST("/api/v1/chat", { body: { message: "hello", personas: ["guide", "skeptic"] } });
check(first.data !== undefined, "a turn is answered");
const turn: Turn = first.data;
check(turn.replies.every((reply) => reply.status === "completed"), "both personas answered");

const messages = await client.GET("/api/v1/conversations/{id}/messages", {
  params: { path: { id: turn.conversation.id }, query: { limit: 10 } },
});
check(messages.data?.data.length === 3, "the conversation has the question and two answers");

const wrong = await client.POST("/api/v1/chat", { body: { message: "" } });
check(wrong.error !== undefined && wrong.error.code === "invalid_request", "an empty message is a problem with a code");
