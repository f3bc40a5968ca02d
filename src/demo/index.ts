import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { version } from '../version.ts';
import { leases } from './leases.ts';
import { mainJob } from './main-job.ts';
import type { Act, Result, Stage, Step } from './stage.ts';
import { Transcript } from './transcript.ts';
import { weekday } from './weekday.ts';

const acts: readonly Act[] = [
  { args: ['--sandbox'], steps: mainJob },
  {
    title: 'A weekday in fast-forward: two GPUs from nine to six, as a schedule says (a minute takes a second)',
    args: ['--sandbox', '--scenario', 'weekday'],
    steps: [...weekday, ...leases],
  },
];

/**
 * Starts the real server as a child on stdio, drives it with the MCP client as a chat would, and prints what happens.
 * Returns the exit code: 1 as soon as a step does not happen.
 */
export async function runDemo(): Promise<number> {
  const startedAt = performance.now();
  const transcript = new Transcript((text) => process.stdout.write(text));
  transcript.title(
    `Tandem ${version}: the main job, against the embedded sandbox (no key, no network, nothing costs money)`,
  );
  try {
    for (const act of acts) await play(act, transcript);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    transcript.end(`Done in ${seconds} s. The servers have left; nothing is left running.`);
    return 0;
  } catch (error) {
    transcript.failure(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

async function play({ title, args, steps }: Act, transcript: Transcript): Promise<void> {
  if (title !== undefined) transcript.act(title);
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [fileURLToPath(new URL('../main.js', import.meta.url)), ...args],
    env: { TANDEM_LOG_LEVEL: 'error' },
    stderr: 'inherit',
  });
  const client = new Client({ name: 'tandem-demo', version });
  let current: Step | undefined;
  try {
    await client.connect(transport);
    const stage = await setTheStage(client, transcript);
    for (const step of steps) {
      current = step;
      transcript.step(step.title);
      await step.play(stage);
    }
    current = undefined;
    const { pid } = transport;
    await client.close();
    if (pid !== null && isAlive(pid)) throw new Error(`the server process ${pid} is still there`);
  } catch (error) {
    await client.close().catch(() => undefined);
    const problem = error instanceof Error ? error.message : String(error);
    throw new Error(current ? `This step did not happen: ${current.title}. ${problem}` : problem, { cause: error });
  }
}

async function setTheStage(client: Client, say: Transcript): Promise<Stage> {
  const { contents } = await client.readResource({ uri: 'tandem://sandbox' });
  const [content] = contents;
  const { control_url: controlUrl } = JSON.parse(content && 'text' in content ? content.text : '{}') as {
    control_url: string;
  };
  const run = async (tool: string, input: Result) => {
    const answer = await client.callTool({ name: tool, arguments: input });
    const [first] = answer.content as { type: string; text?: string }[];
    const text = first?.text ?? '';
    if (answer.isError) throw new Error(text);
    return { result: answer.structuredContent as Result, text };
  };
  const send = async (path: string, init: RequestInit) => {
    const response = await fetch(`${controlUrl}${path}`, init);
    if (!response.ok) throw new Error(`the sandbox refused: ${await response.text()}`);
    return (await response.json()) as Result;
  };
  return {
    say,
    notes: new Map(),
    call(tool, input = {}) {
      say.call(tool, input);
      return run(tool, input);
    },
    look: async (tool) => (await run(tool, {})).result,
    async control(path, body) {
      const headers = { 'content-type': 'application/json' };
      await send(path, { method: 'POST', headers, body: JSON.stringify(body) });
    },
    read: (path) => send(path, {}),
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
