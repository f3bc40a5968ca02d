import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { version } from '../version.ts';
import { type Step, steps } from './steps.ts';
import { Transcript } from './transcript.ts';

/** What a step has at hand: the client's side of a chat, and nothing of the server's insides. */
export interface Stage {
  call(tool: string, input?: Record<string, unknown>): Promise<{ result: Record<string, unknown>; text: string }>;
  /** The sandbox's control surface. */
  control(path: string, body: unknown): Promise<void>;
  say: Transcript;
  /** What earlier steps leave for later ones. */
  notes: Map<string, string>;
}

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
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [fileURLToPath(new URL('../main.js', import.meta.url)), '--sandbox'],
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
    const pid = transport.pid;
    await client.close();
    if (pid !== null && isAlive(pid)) throw new Error(`the server process ${pid} is still there`);
    transcript.end(
      `Done in ${((performance.now() - startedAt) / 1000).toFixed(1)} s. The server has left; nothing is left running.`,
    );
    return 0;
  } catch (error) {
    transcript.failure(
      `${current ? `This step did not happen: ${current.title}. ` : ''}${error instanceof Error ? error.message : error}`,
    );
    await client.close().catch(() => undefined);
    return 1;
  }
}

async function setTheStage(client: Client, say: Transcript): Promise<Stage> {
  const { contents } = await client.readResource({ uri: 'tandem://sandbox' });
  const [content] = contents;
  const { control_url: controlUrl } = JSON.parse(content && 'text' in content ? content.text : '{}') as {
    control_url: string;
  };
  return {
    say,
    notes: new Map(),
    async call(tool, input = {}) {
      say.call(tool, input);
      const answer = await client.callTool({ name: tool, arguments: input });
      const [first] = answer.content as { type: string; text?: string }[];
      const text = first?.text ?? '';
      if (answer.isError) throw new Error(text);
      return { result: answer.structuredContent as Record<string, unknown>, text };
    },
    async control(path, body) {
      const response = await fetch(`${controlUrl}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      if (!response.ok) throw new Error(`the sandbox refused: ${await response.text()}`);
    },
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
