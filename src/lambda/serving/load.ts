import { ask, type ServerBase } from './ask.ts';

/** What a model server does now. Idle: nothing runs, nothing waits, and `tokensServed` stands still. */
export interface Load {
  running: number;
  waiting: number;
  /** In and out, since the server started. */
  tokensServed: number;
}

const timeoutMs = 5_000;

/** What each server calls it. SGLang has written its names with a colon and with an underscore. */
const names = {
  running: ['vllm:num_requests_running', 'sglang:num_running_reqs', 'sglang_num_running_reqs'],
  waiting: ['vllm:num_requests_waiting', 'sglang:num_queue_reqs', 'sglang_num_queue_reqs'],
  tokens: [
    ...['vllm:prompt_tokens_total', 'vllm:generation_tokens_total'],
    ...['sglang:prompt_tokens_total', 'sglang:generation_tokens_total'],
    ...['sglang_prompt_tokens_total', 'sglang_generation_tokens_total'],
  ],
};

/** Null when it cannot be read, which is not idleness. Rejects only when aborted. */
export async function readLoad(base: ServerBase, signal: AbortSignal): Promise<Load | null> {
  const reply = await ask(base, { path: '/metrics', timeoutMs }, signal);
  if (reply.problem !== null || reply.status !== 200) return null;
  const samples = readSamples(reply.text);
  const running = sumOf(samples, names.running);
  const waiting = sumOf(samples, names.waiting);
  // A counter appears with its first token.
  const tokensServed = sumOf(samples, names.tokens) ?? 0;
  if (running === null || waiting === null) return null;
  return Number.isFinite(running + waiting + tokensServed) ? { running, waiting, tokensServed } : null;
}

/** Of every series of a name: there is one for each engine of a server. */
function readSamples(text: string): Map<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, name, value] = /^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

/** Null when none of them is there. */
function sumOf(samples: ReadonlyMap<string, number>, wanted: readonly string[]): number | null {
  const found = wanted.flatMap((name) => samples.get(name) ?? []);
  return found.length > 0 ? found.reduce((total, value) => total + value, 0) : null;
}
