import { isIP } from 'node:net';
import { z } from 'zod';
import { isLoopback } from '../http.ts';
import { deployments, fleetEntry, leases, namesOf, notices } from './fleet-schema.ts';
import { backendId, block, environmentName, isObject, timeZone } from './parts.ts';
import { lambdaPresetEnded, presetIds } from './presets.ts';

export type { FleetEntry } from './fleet-schema.ts';
export { reservedBackendIds } from './parts.ts';

export const priorities = ['low_cost', 'balanced', 'performance', 'latency_critical'] as const;
export type Priority = (typeof priorities)[number];

export const tiers = ['small', 'medium', 'large'] as const;
export type Tier = (typeof tiers)[number];

/**
 * How a server continues an answer that was begun elsewhere: when the last message is the assistant's (`assistant`),
 * or when vLLM's `continue_final_message` is set besides (`vllm`).
 */
export const prefills = ['assistant', 'vllm'] as const;
export type Prefill = (typeof prefills)[number];

/** What a model may take besides text. */
export const capabilities = ['tools', 'json_schema', 'images'] as const;
export type Capability = (typeof capabilities)[number];

/** Where prompts may go. */
export const privacies = ['any', 'dedicated_only'] as const;
export type Privacy = (typeof privacies)[number];

/** What happens when a stream breaks off after its first token was passed on. */
export const streamLosses = ['resume', 'error'] as const;
export type StreamLoss = (typeof streamLosses)[number];

/** The most specific key that fits a name wins: the whole name, then its backend, then `*`. */
const fallbackKey = /^(\*|[^/]+\/.+)$/;

const namedNetworks = ['loopback', 'linklocal', 'uniquelocal'];
const networkHelp = `must be an address, a network such as 10.0.0.0/8, or one of ${namedNetworks.join(', ')}`;

function isNetwork(text: string): boolean {
  const [address = '', bits = '0', ...rest] = text.split('/');
  const version = isIP(address);
  const fits = /^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128);
  return namedNetworks.includes(text) || (version > 0 && fits && rest.length === 0);
}

const httpUrl = z
  .string()
  .refine(isHttpUrl, { error: 'must be an http:// or https:// URL' })
  .transform((url) => url.replace(/\/+$/, ''));

const usdPerMTok = z.number().min(0);
const milliseconds = z.int().min(1).max(600_000);

const model = block({
  id: z.string().min(1),
  tier: z.enum(tiers).optional(),
  contextWindow: z.int().min(256).optional(),
  maxOutputTokens: z.int().min(1).optional(),
  auto: z.boolean().optional(),
  supports: z.array(z.enum(capabilities)).optional(),
  price: block({
    inputUsdPerMTok: usdPerMTok,
    outputUsdPerMTok: usdPerMTok,
    cachedInputUsdPerMTok: usdPerMTok.optional(),
  }).optional(),
});

const modelServer = {
  id: backendId,
  apiKeyEnv: environmentName.optional(),
  timeoutMs: milliseconds.optional(),
  firstTokenTimeoutMs: milliseconds.optional(),
  idleTimeoutMs: milliseconds.optional(),
  maxRetries: z.int().min(0).max(5).optional(),
  maxConcurrentRequests: z.int().min(1).max(100_000).optional(),
  prefill: z.enum(prefills).optional(),
};

const serverless = block({
  ...modelServer,
  preset: z
    .enum(presetIds, { error: (issue) => (issue.input === 'lambda' ? lambdaPresetEnded : undefined) })
    .optional(),
  baseUrl: httpUrl.optional(),
  models: z.array(model).min(1).optional(),
}).refine((backend) => Boolean(backend.preset ?? backend.baseUrl), {
  path: ['baseUrl'],
  error: `give a baseUrl, or a preset: ${presetIds.join(', ')}`,
  when: ({ value }) => isObject(value),
});

const dedicated = block({ ...modelServer, baseUrl: httpUrl, models: z.array(model).min(1).optional() });

/** As it stands: an issuer that ends in a slash is another one than without. Keys come from here, so never in the clear. */
const issuerUrl = z
  .string()
  .refine(isSafeUrl, { error: 'must be an https:// URL (http:// only on loopback)' })
  .refine((url) => !/[?#]/.test(url), { error: 'must have no query and no fragment' });

const oauth = block({ issuer: issuerUrl, audience: z.string().min(1), jwksUri: issuerUrl.optional() });

/** `tandem.yaml`. Every block is optional; what is not given has a default. */
export const fileSchema = block({
  serverless: z.array(serverless).default([]),
  dedicated: z.array(dedicated).default([]),
  routing: block({
    priority: z.enum(priorities).default('balanced'),
    quality: z.number().min(0.5).max(1).optional(),
    serverlessShare: z.number().min(0).max(1).optional(),
    privacy: z.enum(privacies).default('any'),
    fallbacks: z
      .record(
        z.string().regex(fallbackKey, { error: 'must be "backend/model", "backend/*" or "*"' }),
        z.array(z.string().regex(/^[^/]+\/.+$/, { error: 'must be "backend/model"' })),
      )
      .default({}),
    onStreamLoss: z.enum(streamLosses).default('resume'),
    /** Whole answers of small and medium models are checked, and a stronger model asked where that pays. */
    cascade: z.boolean().default(false),
    shadow: block({
      share: z.number().min(0).max(1).default(0),
      budgetUsdPerDay: z.number().min(0).max(10_000).default(0.5),
    }).prefault({}),
  }).prefault({}),
  server: block({
    allowedHosts: z.array(z.string().min(1)).default([]),
    allowedOrigins: z.array(httpUrl).default([]),
    trustedProxies: z.array(z.string().refine(isNetwork, { error: networkHelp })).default([]),
    maxBodyBytes: z.int().min(1_024).max(256_000_000).default(32_000_000),
    maxConcurrentRequests: z.int().min(1).max(100_000).default(512),
    requestTimeoutMs: z.int().min(1_000).max(3_600_000).default(600_000),
    shutdownGraceMs: z.int().min(0).max(600_000).default(30_000),
    oauth: oauth.optional(),
  }).prefault({}),
  budgets: block({
    dailyUsd: z.number().min(0).max(1_000_000).default(50),
    monthlyUsd: z.number().min(0).max(1_000_000).default(1000),
    timeZone: timeZone.optional(),
  }).prefault({}),
  leases,
  deployments,
  notices,
  fleet: z.array(fleetEntry).default([]),
});

/**
 * Ids that a raw file uses more than once, by the path of the later use: of backends and of what the fleet will be
 * called, and of models within one. Reads what it can: the file may have other problems.
 */
export function repeatedIds(file: unknown): { path: string; id: string }[] {
  const backends = (['serverless', 'dedicated'] as const).flatMap((kind) =>
    entriesOf(file, kind).map((entry, index) => ({ entry, path: `${kind}[${index}]` })),
  );
  const models = backends.map(({ entry, path }) =>
    idsOf(entriesOf(entry, 'models').map((model, index) => ({ entry: model, path: `${path}.models[${index}]` }))),
  );
  const fleet = entriesOf(file, 'fleet').flatMap((entry, index) =>
    namesOf(entry).map((id) => ({ id, path: `fleet[${index}].name` })),
  );
  return [[...idsOf(backends), ...fleet], ...models].flatMap(repeatedIn);
}

function idsOf(list: { entry: unknown; path: string }[]): { path: string; id: string }[] {
  return list.flatMap(({ entry, path }) => {
    const id = isObject(entry) ? entry.id : undefined;
    return typeof id === 'string' ? [{ path: `${path}.id`, id }] : [];
  });
}

function repeatedIn(list: { path: string; id: string }[]): { path: string; id: string }[] {
  const seen = new Set<string>();
  return list.filter(({ id }) => {
    const repeated = seen.has(id);
    seen.add(id);
    return repeated;
  });
}

function entriesOf(owner: unknown, key: string): unknown[] {
  const entries = isObject(owner) ? owner[key] : undefined;
  return Array.isArray(entries) ? entries : [];
}

export type ConfigFile = z.output<typeof fileSchema>;
export type ModelConfig = z.output<typeof model>;

/** Nobody on the way can change what is read from there. */
export function isSafeUrl(text: string): boolean {
  return isHttpUrl(text) && (new URL(text).protocol === 'https:' || isLoopback(new URL(text).hostname));
}

export function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}
