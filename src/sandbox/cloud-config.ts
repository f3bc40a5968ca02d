import { parse } from 'yaml';
import * as z from 'zod';

/** The model server that a machine's cloud-config starts, as far as a caller can tell. */
export interface ModelServerOrder {
  engine: 'vllm' | 'sglang';
  servedName: string;
  contextWindowTokens: number;
  /** More requests than this wait. */
  maxRunning: number;
  apiKey: string | null;
  hasMetrics: boolean;
}

const environmentFile = '/etc/llm.env';
/** What the model itself would say, when the command line does not. */
const usualWindowTokens = 32_768;
const usualMaxRunning = 256;

const cloudConfig = z.looseObject({
  runcmd: z.array(z.unknown()).default([]),
  write_files: z
    .array(z.looseObject({ path: z.string(), content: z.string().default(''), encoding: z.string().optional() }))
    .default([]),
});

type CloudConfig = z.output<typeof cloudConfig>;

/**
 * Null where no model server would come up: no cloud-config (its first line must say so), no `docker run` of vLLM or
 * SGLang among the `runcmd` entries written as lists, or a container whose port 8000 is not published.
 */
export function readModelServerOrder(userData: string | null): ModelServerOrder | null {
  const config = readCloudConfig(userData);
  const command = config?.runcmd.map(asArguments).find((words) => words.includes('docker') && words.includes('run'));
  if (!config || !command) return null;
  const engine = command.some((word) => word.includes('sglang')) ? 'sglang' : 'vllm';
  const option = (...names: string[]) => valuesOf(command, names)[0];
  const model = option('--model', '--model-path', '--served-model-name') ?? positionalModel(command);
  const isPublished = valuesOf(command, ['-p', '--publish']).some((ports) => /(^|:)8000(\/tcp)?$/.test(ports));
  if (model === undefined || !isPublished) return null;
  const readsEnvironmentFile = valuesOf(command, ['--env-file']).includes(environmentFile);
  return {
    engine,
    servedName: option('--served-model-name') ?? model,
    contextWindowTokens: Number(option('--max-model-len', '--context-length') ?? usualWindowTokens),
    maxRunning: Number(option('--max-num-seqs', '--max-running-requests') ?? usualMaxRunning),
    apiKey: option('--api-key') ?? (readsEnvironmentFile ? keyIn(config) : null),
    hasMetrics: engine === 'vllm' || command.includes('--enable-metrics'),
  };
}

function readCloudConfig(userData: string | null): CloudConfig | null {
  if (!userData?.startsWith('#cloud-config')) return null;
  try {
    return cloudConfig.parse(parse(userData));
  } catch {
    // As on a real machine: it boots, and nothing of it happens.
    return null;
  }
}

function asArguments(entry: unknown): string[] {
  return Array.isArray(entry) ? entry.map(String) : [];
}

/** Both `--option value` and `--option=value`, in order. */
function valuesOf(words: readonly string[], names: readonly string[]): string[] {
  return words.flatMap((word, index) => {
    const [name = '', ...rest] = word.split('=');
    if (!names.includes(name)) return [];
    return rest.length > 0 ? [rest.join('=')] : words.slice(index + 1, index + 2);
  });
}

/** `vllm/vllm-openai:TAG MODEL`, and `vllm serve MODEL`. */
function positionalModel(words: readonly string[]): string | undefined {
  const serveAt = words.indexOf('serve');
  const imageAt = words.findIndex((word) => word.includes('vllm/vllm'));
  const model = words[Math.max(serveAt, imageAt) + 1];
  return Math.max(serveAt, imageAt) < 0 || model?.startsWith('-') ? undefined : model;
}

/** docker takes the rest of the line as it is, quotes and all. */
function keyIn({ write_files }: CloudConfig): string | null {
  const file = write_files.find(({ path }) => path === environmentFile);
  if (!file) return null;
  const isBase64 = ['b64', 'base64'].includes(file.encoding ?? '');
  const text = isBase64 ? Buffer.from(file.content, 'base64').toString() : file.content;
  return /^VLLM_API_KEY=(.+)$/m.exec(text)?.[1] ?? null;
}
