import { onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/index.ts';
import { ManualClock } from './clock.ts';

/** From launch until a model server answers, where nothing else is set. */
const bootAndLagMs = 240_000 + 40_000;

const vllmImage = 'vllm/vllm-openai:v0.11.0';
const dockerRun = ['docker', 'run', '-d', '--gpus', 'all', '--env-file', '/etc/llm.env', '-p', '127.0.0.1:8000:8000'];
const usualArguments = ['--model', 'openai/gpt-oss-120b', '--served-model-name', 'box', '--max-model-len', '16384'];

export interface ServeOrder {
  image?: string;
  /** After the image. */
  arguments?: string[];
  /** Before the image, in place of the usual ones. */
  docker?: string[];
  apiKey?: string;
  writeFiles?: object[];
}

/** A cloud-config that starts a model server, `box` by vLLM if nothing else is said. */
export function serveConfig(order: ServeOrder = {}): string {
  const environment = order.apiKey === undefined ? 'HF_TOKEN=none\n' : `HF_TOKEN=none\nVLLM_API_KEY=${order.apiKey}\n`;
  const config = {
    write_files: order.writeFiles ?? [{ path: '/etc/llm.env', permissions: '0600', content: environment }],
    runcmd: [
      ['sh', '-c', 'until nvidia-smi -L; do sleep 2; done'],
      [...(order.docker ?? dockerRun), order.image ?? vllmImage, ...(order.arguments ?? usualArguments)],
    ],
  };
  return `#cloud-config\n${stringify(config)}`;
}

/** A sandbox whose time stands still until it is moved, without pacing; a boot takes four minutes. */
export async function openStillSandbox(options: Partial<SandboxOptions> = {}) {
  const clock = new ManualClock();
  const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece: 0, ...options });
  onTestFinished(() => sandbox.close());
  sandbox.lambda.applyFaults({ pacing: { enabled: false }, boot: { durationMs: 240_000 } });

  const callApi = async (line: string, body?: unknown) => {
    const [method = '', path = ''] = line.split(' ');
    const answer = await fetch(`${sandbox.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${sandbox.environment.LAMBDA_API_KEY}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, text, body: text.startsWith('{') ? JSON.parse(text) : undefined };
  };
  const launch = async (userData?: string, extra: object = {}): Promise<string> => {
    const answer = await callApi('POST /instance-operations/launch', {
      region_name: 'us-east-1',
      instance_type_name: 'gpu_1x_a10',
      ssh_key_names: ['laptop'],
      user_data: userData,
      ...extra,
    });
    if (!answer.body?.data) throw new Error(answer.text);
    return answer.body.data.instance_ids[0];
  };
  const control = async (path: string, body?: unknown) => {
    const answer = await fetch(sandbox.controlUrl + path, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json' },
    });
    return { status: answer.status, body: (await answer.json()) as any };
  };
  return { sandbox, clock, callApi, launch, control };
}

/** What the machine's server answers; null where the connection is cut. */
export async function askMachine(
  sandbox: Sandbox,
  id: string,
  path: string,
  { body, apiKey }: { body?: object; apiKey?: string } = {},
): Promise<{ status: number; text: string; type: string } | null> {
  const answer = await fetch(sandbox.machineUrl(id) + path, {
    method: body ? 'POST' : 'GET',
    headers: {
      ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  }).catch(() => null);
  if (!answer) return null;
  return { status: answer.status, text: await answer.text(), type: answer.headers.get('content-type') ?? '' };
}

/** A machine that serves, and questions to it. */
export async function openServing(order: ServeOrder = {}, faults: object = {}) {
  const opened = await openStillSandbox();
  opened.sandbox.lambda.applyFaults(faults);
  const id = await opened.launch(serveConfig(order));
  opened.clock.advance(bootAndLagMs);
  const ask = (path: string, question: Parameters<typeof askMachine>[3] = {}) =>
    askMachine(opened.sandbox, id, path, question);
  const isUp = async () => (await ask('/health')) !== null;
  const metrics = async () => readMetrics((await ask('/metrics'))?.text ?? '');
  return { ...opened, id, ask, isUp, metrics };
}

function readMetrics(text: string): Record<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const [, name = '', value = ''] = /^([\w:]+)\{[^}]*\} (\S+)$/.exec(line) ?? [];
      return [name, Number(value)];
    }),
  );
}

export function chat(model: string, extra: object = {}): object {
  return { model, messages: [{ role: 'user', content: 'What is the capital of France?' }], ...extra };
}
