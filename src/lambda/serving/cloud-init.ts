import { stringify } from 'yaml';
import { AppError } from '../../errors.ts';
import type { Access } from './access.ts';
import { checkWish, type Engine, modelServerPort, type ServeWish } from './spec.ts';

/**
 * Pinned, so that the same deployment starts the same server tomorrow. Chosen on 2026-11-23 among the tags that public
 * projects run on x86_64 and on arm64. Both have CUDA 13, which needs a driver of 580 or newer: Lambda's image
 * `lambda-stack-24-04` has one.
 */
export const serverImages: Readonly<Record<Engine, string>> = {
  vllm: 'vllm/vllm-openai:v0.30.0',
  sglang: 'lmsysorg/sglang:v0.5.20',
};

/** Lambda's limit for user data. */
const largestBytes = 1_000_000;
/** Of the GPUs' memory; the rest is CUDA's own. */
const memoryShare = '0.92';
const environmentFile = '/etc/llm.env';
const sglangFile = '/etc/llm-server.yaml';
const containerName = 'tandem-model-server';
const localCache = '/opt/hf';

/** cloud-init and SGLang read YAML 1.1, where `no`, `1:30` and `1_000` without quotes are no strings. */
const plainToEveryReader = { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0 } as const;

/** Fixed texts. What differs from machine to machine comes as an argument, and is never part of a script. */
const waitForGpus = 'for i in $(seq 120); do nvidia-smi -L && exit 0; sleep 5; done; exit 1';
const pullImage = 'for i in $(seq 10); do docker pull --quiet "$1" && exit 0; sleep 15; done; exit 1';

export interface CloudInitParts {
  wish: ServeWish;
  /** The name under which the model is asked for. */
  alias: string;
  gpus: number;
  architecture: string;
  access: Access;
  hfToken: string | null;
  /** Where a filesystem is mounted that keeps the weights for the next machine. */
  weightsMount: string | null;
}

/**
 * The user data that makes a machine serve a model: a cloud-config, built as data. cloud-init quotes each element of
 * a command for the shell, so nothing that a person typed is read by one. It holds secrets: never to be shown.
 */
export function cloudInit(parts: CloudInitParts): string {
  checkWish(parts.wish);
  const { access, wish } = parts;
  const files = [{ path: environmentFile, owner: 'root:root', permissions: '0600', content: environmentOf(parts) }];
  if (wish.engine === 'sglang' && access.apiKey !== null) {
    // SGLang reads no key from the environment, and an argument would be seen by everybody on the machine.
    const content = stringify({ 'api-key': access.apiKey }, plainToEveryReader);
    files.push({ path: sglangFile, owner: 'root:root', permissions: '0600', content });
  }
  const config = {
    ssh_deletekeys: true,
    ssh_keys: { ecdsa_private: access.hostKeys.privatePem, ecdsa_public: access.hostKeys.publicLine },
    ssh_authorized_keys: [access.authorizedKeyLine],
    write_files: files,
    runcmd: [
      ['bash', '-c', waitForGpus],
      ['bash', '-c', pullImage, 'pull', serverImages[wish.engine]],
      dockerRun(parts),
    ],
  };
  const text = `#cloud-config\n${stringify(config, plainToEveryReader)}`;
  if (Buffer.byteLength(text) > largestBytes) {
    throw new AppError('invalid_input', 'The extra arguments are too long for a launch.', { next: 'Give fewer.' });
  }
  return text;
}

function environmentOf({ hfToken, access }: CloudInitParts): string {
  const lines = ['VLLM_NO_USAGE_STATS=1'];
  if (hfToken !== null) {
    // Docker reads a line as it is: a break in the token would begin another variable.
    if (!/^[\x21-\x7e]+$/.test(hfToken)) {
      throw new AppError('config_invalid', 'The Hugging Face token has spaces, line breaks or other odd characters.', {
        next: 'Set it to the token alone, such as hf_...',
      });
    }
    lines.push(`HF_TOKEN=${hfToken}`, `HUGGING_FACE_HUB_TOKEN=${hfToken}`);
  }
  if (access.apiKey !== null) lines.push(`VLLM_API_KEY=${access.apiKey}`);
  return `${lines.join('\n')}\n`;
}

function dockerRun(parts: CloudInitParts): string[] {
  const { wish, access } = parts;
  checkAlias(parts.alias);
  if (parts.architecture !== 'x86_64' && parts.architecture !== 'arm64') {
    throw new AppError('invalid_input', `The model servers do not run on ${parts.architecture}.`, {
      next: 'Choose a machine with x86_64 or arm64.',
    });
  }
  if (!Number.isSafeInteger(parts.gpus) || parts.gpus < 1) {
    throw new AppError('invalid_input', 'The machine has no GPU.', {
      next: 'Choose a type whose name begins with gpu_.',
    });
  }
  const address = wish.endpoint === 'tunnel' ? '127.0.0.1' : '0.0.0.0';
  const keyMount = wish.engine === 'sglang' && access.apiKey !== null ? ['-v', `${sglangFile}:${sglangFile}:ro`] : [];
  return [
    ...['docker', 'run', '--detach', '--name', containerName, '--restart', 'unless-stopped'],
    ...['--gpus', 'all', '--ipc=host', '--env-file', environmentFile],
    ...['-v', `${cacheFolder(parts.weightsMount)}:/root/.cache/huggingface`, ...keyMount],
    ...['-p', `${address}:${modelServerPort}:${modelServerPort}`],
    serverImages[wish.engine],
    ...(wish.engine === 'vllm' ? vllmArguments(parts) : sglangArguments(parts)),
    ...wish.extraArgs,
  ];
}

/** The image runs `vllm serve`; it publishes `/metrics` by itself. */
function vllmArguments({ wish, alias, gpus }: CloudInitParts): string[] {
  return [
    wish.model,
    ...['--served-model-name', alias],
    // `auto`: else a model whose window does not fit beside its weights would not start.
    ...['--max-model-len', wish.maxContext === null ? 'auto' : String(wish.maxContext)],
    ...['--tensor-parallel-size', String(gpus), '--gpu-memory-utilization', memoryShare],
  ];
}

function sglangArguments({ wish, alias, gpus, access }: CloudInitParts): string[] {
  return [
    ...['python3', '-m', 'sglang.launch_server', '--model-path', wish.model, '--served-model-name', alias],
    ...['--host', '0.0.0.0', '--port', String(modelServerPort)],
    ...['--tensor-parallel-size', String(gpus), '--enable-metrics'],
    ...(wish.maxContext === null ? [] : ['--context-length', String(wish.maxContext)]),
    ...(access.apiKey === null ? [] : ['--config', sglangFile]),
  ];
}

function checkAlias(alias: string): void {
  if (/^[\w/][\w./:@+-]{0,199}$/.test(alias)) return;
  throw new AppError('invalid_input', 'The name under which the model is to be served cannot be used.', {
    next: 'Use letters, digits, dots, dashes, underscores and slashes.',
  });
}

function cacheFolder(weightsMount: string | null): string {
  if (weightsMount === null) return localCache;
  // A colon would end the path for Docker.
  if (/^\/[\w./-]+$/.test(weightsMount)) return `${weightsMount.replace(/\/+$/, '')}/huggingface`;
  throw new AppError('invalid_input', `Weights cannot be kept at "${weightsMount}".`, {
    next: "Use a filesystem's own mount point, such as /lambda/nfs/models.",
  });
}
