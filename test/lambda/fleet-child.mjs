// A whole Tandem in a process of its own, in a sandbox that lives in another one: `node fleet-child.mjs <json>`. Runs the
// compiled code. Takes tool calls as JSON lines, confirms them, and answers in JSON lines; it is there to be killed.
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { createApp } from '../../dist/app.js';
import { loadConfig } from '../../dist/config/index.js';

const { url, originMs, speed } = JSON.parse(process.argv[2]);
// The same time as the sandbox's, in another process.
const clock = {
  nowMs: () => Math.round(originMs + (Date.now() - originMs) * speed),
  sleep: (ms, signal) => delay(ms / speed, undefined, signal ? { signal } : {}),
};
const sandbox = { controlUrl: `${url}/control`, machineUrl: (id) => `${url}/machines/${id}` };
const app = await createApp(loadConfig(), { clock, sandbox });
const session = app.createSession({});
const client = new Client({ name: 'test', version: '1' });
const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
await Promise.all([session.connect(serverSide), client.connect(clientSide)]);

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { tool, input } = JSON.parse(line);
  const plan = await client.callTool({ name: tool, arguments: input });
  const token = plan.structuredContent?.confirm_token;
  say(token ? await client.callTool({ name: tool, arguments: { ...input, confirm_token: token } }) : plan);
}
