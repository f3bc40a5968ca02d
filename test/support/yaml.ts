import type { Sandbox } from '../../src/sandbox/index.ts';

export interface BackendYaml {
  id: string;
  kind?: 'serverless' | 'dedicated';
  /** Model ids; at the sandbox a model's name selects what happens. */
  models: string[];
  tier?: 'small' | 'medium' | 'large';
  contextWindow?: number;
  /** Dollars per million tokens, in and out; false: none is known. */
  price?: [number, number] | false;
  baseUrl?: string;
  keyEnv?: string;
  timeoutMs?: number;
  firstTokenTimeoutMs?: number;
  idleTimeoutMs?: number;
  maxRetries?: number;
  prefill?: 'assistant' | 'vllm';
  maxConcurrentRequests?: number;
  /** Of all its models. */
  supports?: string[];
}

/** A `tandem.yaml` whose backends are the sandbox's servers, or what `baseUrl` says. */
export function yamlFor(sandbox: Sandbox, backends: BackendYaml[], rest: Record<string, unknown> = {}): string {
  const entry = (backend: BackendYaml) => ({
    id: backend.id,
    baseUrl: backend.baseUrl ?? `${sandbox.url}/${backend.kind ?? 'serverless'}/v1`,
    ...(backend.kind === 'dedicated' ? {} : { apiKeyEnv: backend.keyEnv ?? 'SANDBOX_KEY' }),
    ...onlyGiven(backend, [
      'timeoutMs',
      'firstTokenTimeoutMs',
      'idleTimeoutMs',
      'maxRetries',
      'prefill',
      'maxConcurrentRequests',
    ]),
    models: backend.models.map((id) => ({
      id,
      tier: backend.tier ?? 'small',
      contextWindow: backend.contextWindow ?? 32_768,
      ...(backend.supports && { supports: backend.supports }),
      ...(backend.price !== false && {
        price: { inputUsdPerMTok: backend.price?.[0] ?? 1, outputUsdPerMTok: backend.price?.[1] ?? 2 },
      }),
    })),
  });
  // JSON is YAML.
  return JSON.stringify({
    serverless: backends.filter(({ kind }) => kind !== 'dedicated').map(entry),
    dedicated: backends.filter(({ kind }) => kind === 'dedicated').map(entry),
    ...rest,
  });
}

function onlyGiven(backend: BackendYaml, names: (keyof BackendYaml)[]): Partial<BackendYaml> {
  return Object.fromEntries(names.filter((name) => name in backend).map((name) => [name, backend[name]]));
}
