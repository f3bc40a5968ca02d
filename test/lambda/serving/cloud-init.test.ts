import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Access } from '../../../src/lambda/serving/access.ts';
import { type CloudInitParts, cloudInit, serverImages } from '../../../src/lambda/serving/cloud-init.ts';
import { createSshKeyPair } from '../../../src/lambda/serving/host-key.ts';
import type { ServeWish } from '../../../src/lambda/serving/spec.ts';

const apiKey = `sk-${'12e4'.repeat(16)}`;
let access: Access;

beforeAll(() => {
  access = {
    hostKeys: createSshKeyPair(),
    clientKeyFile: '/home/me/client_key',
    authorizedKeyLine: 'restrict,port-forwarding,permitopen="127.0.0.1:8000" ecdsa-sha2-nistp256 AAAA',
    knownHostsFile: '/home/me/known_hosts',
    apiKey: null,
    apiKeyFile: null,
  };
});

interface Changes extends Partial<Omit<CloudInitParts, 'wish' | 'access'>> {
  wish?: Partial<ServeWish>;
  access?: Partial<Access>;
}

function textOf(changes: Changes = {}): string {
  return cloudInit({
    alias: 'analysts',
    gpus: 1,
    architecture: 'x86_64',
    hfToken: null,
    weightsMount: null,
    ...changes,
    access: { ...access, ...changes.access },
    wish: {
      model: 'openai/gpt-oss-120b',
      engine: 'vllm',
      maxContext: 32_768,
      hfTokenEnv: null,
      extraArgs: [],
      endpoint: 'tunnel',
      allowCidr: null,
      ...changes.wish,
    },
  });
}

interface CloudConfig {
  ssh_keys: Record<string, string>;
  ssh_deletekeys: boolean;
  ssh_authorized_keys: string[];
  write_files: { path: string; permissions: string; owner: string; content: string }[];
  runcmd: string[][];
}

/** As cloud-init reads it. */
const configOf = (changes?: Changes) => parse(textOf(changes), { version: '1.1' }) as CloudConfig;
const dockerRun = (changes?: Changes) => configOf(changes).runcmd.at(-1)!;
const environmentOf = (changes?: Changes) => configOf(changes).write_files[0]!;

describe('the cloud-config of a machine that serves', () => {
  it('starts with the line by which cloud-init knows it', () => {
    expect(textOf()).toMatch(/^#cloud-config\n/);
  });

  it('starts vLLM on the loopback', () => {
    expect(dockerRun()).toEqual([
      ...['docker', 'run', '--detach', '--name', 'tandem-model-server', '--restart', 'unless-stopped'],
      ...['--gpus', 'all', '--ipc=host', '--env-file', '/etc/llm.env', '-v', '/opt/hf:/root/.cache/huggingface'],
      ...['-p', '127.0.0.1:8000:8000', serverImages.vllm, 'openai/gpt-oss-120b', '--served-model-name', 'analysts'],
      ...['--max-model-len', '32768', '--tensor-parallel-size', '1', '--gpu-memory-utilization', '0.92'],
    ]);
  });

  it('starts SGLang with its metrics', () => {
    const command = dockerRun({ wish: { engine: 'sglang' }, gpus: 8 });
    expect(command.slice(command.indexOf('-p'))).toEqual([
      ...['-p', '127.0.0.1:8000:8000', serverImages.sglang, 'python3', '-m', 'sglang.launch_server'],
      ...['--model-path', 'openai/gpt-oss-120b', '--served-model-name', 'analysts'],
      ...['--host', '0.0.0.0', '--port', '8000', '--tensor-parallel-size', '8', '--enable-metrics'],
      ...['--context-length', '32768'],
    ]);
  });

  it('waits for the GPUs and pulls the image first, and not for ever', () => {
    const [gpus, pull] = configOf().runcmd;
    expect(gpus?.join(' ')).toMatch(/seq 120.*nvidia-smi -L/);
    expect(pull?.slice(3)).toEqual(['pull', serverImages.vllm]);
  });

  it('lets vLLM find the longest context that fits when none was asked for', () => {
    expect(dockerRun({ wish: { maxContext: null } }).join(' ')).toContain('--max-model-len auto');
    expect(dockerRun({ wish: { maxContext: null, engine: 'sglang' } })).not.toContain('--context-length');
  });

  it('listens on every address for a direct endpoint, and wants a key there', () => {
    const direct: Changes = { wish: { endpoint: 'direct' }, access: { apiKey } };
    expect(dockerRun(direct)).toContain('0.0.0.0:8000:8000');
    expect(environmentOf(direct).content).toContain(`VLLM_API_KEY=${apiKey}\n`);
    expect(dockerRun(direct).join(' ')).not.toContain(apiKey);
  });

  it('gives SGLang its key in a file', () => {
    const direct: Changes = { wish: { endpoint: 'direct', engine: 'sglang' }, access: { apiKey } };
    const file = configOf(direct).write_files[1];
    expect(file).toMatchObject({ path: '/etc/llm-server.yaml', permissions: '0600' });
    expect(parse(file?.content ?? '')).toEqual({ 'api-key': apiKey });
    expect(dockerRun(direct).join(' ')).toContain('-v /etc/llm-server.yaml:/etc/llm-server.yaml:ro');
    expect(dockerRun(direct).slice(-2)).toEqual(['--config', '/etc/llm-server.yaml']);
    expect(dockerRun(direct).join(' ')).not.toContain(apiKey);
  });

  it('keeps the weights on a filesystem where there is one', () => {
    expect(dockerRun({ weightsMount: '/lambda/nfs/models' })).toContain(
      '/lambda/nfs/models/huggingface:/root/.cache/huggingface',
    );
  });

  it('brings its own host key and lets in our client', () => {
    expect(configOf()).toMatchObject({
      ssh_deletekeys: true,
      ssh_keys: { ecdsa_private: access.hostKeys.privatePem, ecdsa_public: access.hostKeys.publicLine },
      ssh_authorized_keys: [access.authorizedKeyLine],
    });
  });

  it('has the token of Hugging Face in a file that only root reads, and nowhere else', () => {
    const config = configOf({ hfToken: 'hf_abcdef' });
    expect(config.write_files).toEqual([
      {
        path: '/etc/llm.env',
        owner: 'root:root',
        permissions: '0600',
        content: 'VLLM_NO_USAGE_STATS=1\nHF_TOKEN=hf_abcdef\nHUGGING_FACE_HUB_TOKEN=hf_abcdef\n',
      },
    ]);
    expect(JSON.stringify(config.runcmd)).not.toContain('hf_abcdef');
  });

  it.each(['hf_a\nVLLM_API_KEY=mine', 'hf_a b', ''])(
    'refuses a token that would be more than one line: %j',
    (hfToken) => {
      expect(() => textOf({ hfToken })).toThrow(/The Hugging Face token/);
    },
  );
});

const hostile = [`"; rm -rf / #`, `'; reboot; '`, '$(reboot)', '`reboot`', '$HOME', '- a: b', '{a: [b', '!!js x', '\\'];
/** Strings to readers of YAML 1.2, and something else to those of 1.1. */
const ambiguous = ['no', '1:30', '1_000', '0777', '~'];

describe('what people type', () => {
  it.each([...hostile, ...ambiguous])('stays one argument: %s', (value) => {
    const command = dockerRun({ wish: { extraArgs: ['--chat-template', value] } });
    expect(command.slice(-2)).toEqual(['--chat-template', value]);
    expect(configOf({ wish: { extraArgs: ['--chat-template', value] } }).runcmd).toHaveLength(3);
  });

  it.each(['a\nb', 'a\0b', 'a\rb', '\u001b[0m'])('has no control characters: %j', (value) => {
    expect(() => textOf({ wish: { extraArgs: ['--chat-template', value] } })).toThrow(/cannot be passed on/);
  });

  it.each([...hostile, 'a\nb', '--api-key=x', '-h', '../../etc', 'a/b/c', ''])('is no model: %j', (model) => {
    expect(() => textOf({ wish: { model } })).toThrow(/is no name of a model/);
  });

  it.each([...hostile, '--host', 'a b', 'a\nb', ''])('is no name to serve under: %j', (alias) => {
    expect(() => textOf({ alias })).toThrow(/cannot be used/);
  });

  it.each(['/data:/etc', '/data\n', 'data', '/a,b'])('is no mount point: %j', (weightsMount) => {
    expect(() => textOf({ weightsMount })).toThrow(/Weights cannot be kept/);
  });

  it.each([
    ['--host', '--host'],
    ['--port=1', '--port'],
    ['--served_model_name', '--served-model-name'],
    ['--api-k=secret-value', '--api-key'],
    ['--API-KEY', '--api-key'],
    ['--config', '--config'],
    ['--uds', '--uds'],
    ['-tp', '-tp'],
    ['--', '--model'],
  ])('cannot take over what Tandem sets: %s', (argument, reserved) => {
    const attempt = () => textOf({ wish: { extraArgs: ['--enable-prefix-caching', argument] } });
    expect(attempt).toThrow(`Tandem sets ${reserved} itself`);
    expect(attempt).not.toThrow(/secret-value/);
  });

  it.each([
    ['--enable-prefix-caching'],
    ['--config-format', 'hf'],
    ['--tool-call-parser', 'hermes'],
    ['--gpu-memory-utilization=0.8'],
    ['--limit', '-1'],
  ])('is passed on: %s %s', (...extraArgs) => {
    expect(dockerRun({ wish: { extraArgs } }).slice(-extraArgs.length)).toEqual(extraArgs);
  });

  it('begins with an option', () => {
    expect(() => textOf({ wish: { extraArgs: ['other/model'] } })).toThrow(/belongs to no option/);
  });

  it('is small enough for a launch', () => {
    const extraArgs = ['--chat-template', ...Array<string>(63).fill('x'.repeat(4096))];
    expect(Buffer.byteLength(textOf({ wish: { extraArgs } }))).toBeLessThan(1_000_000);
    expect(() => textOf({ wish: { extraArgs: [...extraArgs, 'x'] } })).toThrow(/too many/);
  });

  it.each([0, -1, 1.5, Number.NaN])('is no context: %s', (maxContext) => {
    expect(() => textOf({ wish: { maxContext } })).toThrow(/cannot be served/);
  });
});
