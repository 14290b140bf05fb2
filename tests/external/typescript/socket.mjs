// A turn over Node's `ws`, cut in the middle and resumed on a second socket without a gap or a double.
import WebSocket from "ws";

const url = process.argv[2];

function open() {
  const socket = new WebSocket(url, "polylogue.v1");
  const frames = [];
  const waiting = [];
  socket.on("message", (data) => {
    const frame = JSON.parse(data.toString());
    const next = waiting.shift();
    next ? next(frame) : frames.push(frame);
  });
  const next = () => (frames.length ? Promise.resolve(frames.shift()) : new Promise((give) => waiting.push(give)));
  return { socket, next };
}

const first = open();
if ((await first.next()).type !== "hello") throw new Error("no hello");
first.socket.send(JSON.stringify({ type: "chat", ref: "node-1", message: "tell me a story", personas: ["guide"] }));
const seen = [];
do seen.push(await first.next()); while (seen.filter((event) => event.type === "reply.delta").length < 5);
first.socket.terminate();

const second = open();
await second.next();
const { turn_id, id } = seen.at(-1);
second.socket.send(JSON.stringify({ type: "resume", ref: "node-2", turn_id, after: id }));
do seen.push(await second.next()); while (!seen.at(-1).type.startsWith("turn."));
second.socket.close();

const numbers = seen.map((event) => Number(event.id.split("-")[1]));
if (numbers.some((number, index) => number !== index + 1)) throw new Error(`gap or double: ${numbers}`);
const text = seen.filter((event) => event.type === "reply.delta").map((event) => event.text).join("");
const whole = seen.find((event) => event.type === "reply.completed").content;
if (text !== whole) throw new Error("the pieces are not the whole");
