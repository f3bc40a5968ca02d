import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import envPaths from 'env-paths';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { AppError } from '../errors.ts';
import { type LogLevel, logLevels } from '../log.ts';
import { usdToNano } from '../money.ts';
import { Redactor } from '../redactor.ts';
import { type Deployments, deploymentsOf, fleetOf, fleetProblems, type Leases, leasesOf } from './fleet.ts';
import { type FleetEntry, namesOf } from './fleet-schema.ts';
import { type PresetId, presetIds, presets } from './presets.ts';
import { type ConfigFile, fileSchema, isHttpUrl, type ModelConfig, type Prefill, repeatedIds } from './schema.ts';
import { type Secret, secretFromCommand, secretFromFile, secretFromValue } from './secret.ts';

export type BackendKind = 'serverless' | 'dedicated';

export interface BackendConfig {
  id: string;
  kind: BackendKind;
  baseUrl: string;
  preset: PresetId | null;
  apiKey: Secret | null;
  /** Why the backend cannot be used, when a key that it names is not set. */
  unusable: string | null;
  /** Until the first byte of a stream. */
  timeoutMs: number;
  /** Until the first byte of an answer that is not streamed: it comes when the last token is there. */
  wholeTimeoutMs: number;
  /** Until the first token of a stream. */
  firstTokenTimeoutMs: number;
  /** Between two pieces of a stream. */
  idleTimeoutMs: number;
  /** How often a call that failed on its side is repeated there before another candidate gets it. */
  maxRetries: number;
  /** How many calls it gets at once; null: any number. */
  maxConcurrentRequests: number | null;
  /** How it continues an answer that was begun elsewhere; null: not known that it can. */
  prefill: Prefill | null;
  /** `null`: ask the server (`GET /v1/models`). */
  models: ModelConfig[] | null;
}

/** Who issues access tokens for this server. */
export interface OAuthConfig {
  /** Exactly as it stands in `iss`. */
  issuer: string;
  /** What `aud` must name: this server. Best its public URL, such as `https://tandem.example.com/mcp`. */
  audience: string;
  /** Where its keys are; null: as its metadata says. */
  jwksUri: string | null;
}

export interface Config {
  home: string;
  /** The `tandem.yaml` that was read, or null. */
  file: string | null;
  readOnly: boolean;
  logLevel: LogLevel;
  redactor: Redactor;
  lambda: { baseUrl: string; apiKey: Secret | null };
  backends: BackendConfig[];
  routing: ConfigFile['routing'];
  server: Omit<ConfigFile['server'], 'oauth'> & { oauth: OAuthConfig | null };
  budgets: { dailyNanoUsd: number; monthlyNanoUsd: number; timeZone: string };
  leases: Leases;
  deployments: Deployments;
  notices: { webhookUrl: Secret | null };
  /** What the schedule keeps, in the order of the file. */
  fleet: FleetEntry[];
  /**
   * What an environment variable that a deployment names holds; undefined when it is not set, or is none that may go
   * onto a machine: of Hugging Face, or named in `fleet`.
   */
  secretNamed(name: string): string | undefined;
}

export type Environment = Record<string, string | undefined>;

/** Source: the OpenAPI document of Lambda Cloud, `servers`. */
const lambdaBaseUrl = 'https://cloud.lambda.ai/api/v1';
/** What a model server has that says nothing else. */
export const modelServerDefaults = {
  timeoutMs: 30_000,
  wholeTimeoutMs: 300_000,
  firstTokenTimeoutMs: 60_000,
  idleTimeoutMs: 15_000,
  maxRetries: 1,
  maxConcurrentRequests: null,
  prefill: null,
  unusable: null,
  preset: null,
};

/**
 * Environment plus optional `tandem.yaml` -> one validated Config. Throws one `config_invalid` error that lists every
 * problem with the path of the key and what is allowed. Values of secrets are never quoted. `folder`: where relative
 * paths begin.
 */
export function loadConfig(given: Environment = process.env, folder = process.cwd()): Config {
  const env = withoutPlaceholders(given);
  const problems: string[] = [];
  const redactor = new Redactor();
  const home = env.TANDEM_HOME ? fromHome(env.TANDEM_HOME) : envPaths('tandem', { suffix: '' }).data;
  // Relative to what? Clients start servers anywhere, and each place would have a ledger and a budget of its own.
  if (!isAbsolute(home)) problems.push('TANDEM_HOME: must be an absolute path (or begin with ~/)');
  const { path, file } = readFile(env.TANDEM_CONFIG && resolve(folder, fromHome(env.TANDEM_CONFIG)), home, problems);

  const defaults = fileSchema.parse({});
  const timeZone = file?.budgets.timeZone ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  const config: Config = {
    home,
    file: path,
    readOnly: readFlag('TANDEM_READ_ONLY', env, problems),
    logLevel: readLogLevel(env, problems),
    redactor,
    lambda: lambdaOf(env, redactor, problems),
    backends: file ? [...backendsOf(file, env, redactor), ...presetsByKey(file, env, redactor)] : [],
    routing: (file ?? defaults).routing,
    server: { ...(file ?? defaults).server, oauth: oauthOf(file) },
    budgets: {
      dailyNanoUsd: usdToNano(file?.budgets.dailyUsd ?? 0),
      monthlyNanoUsd: usdToNano(file?.budgets.monthlyUsd ?? 0),
      timeZone,
    },
    leases: leasesOf(file ?? defaults),
    deployments: deploymentsOf(file ?? defaults),
    notices: { webhookUrl: file ? webhookUrl(file, env, redactor, problems) : null },
    fleet: fleetOf(file ?? defaults, timeZone),
    secretNamed(name) {
      const value = env[name];
      const isMeant = /^(?:HF|HUGGING_?FACE)_/.test(name) || config.fleet.some(({ hfTokenEnv }) => hfTokenEnv === name);
      if (!value || !isMeant) return undefined;
      redactor.add(value);
      return value;
    },
  };
  refuse(problems);
  return config;
}

/** What it takes to reach Lambda Cloud. No file is read, so that none can be in the way. Throws as `loadConfig` does. */
export function loadLambdaConfig(given: Environment = process.env): Pick<Config, 'lambda' | 'logLevel' | 'redactor'> {
  const env = withoutPlaceholders(given);
  const problems: string[] = [];
  const redactor = new Redactor();
  const config = { lambda: lambdaOf(env, redactor, problems), logLevel: readLogLevel(env, problems), redactor };
  refuse(problems);
  return config;
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  const list = problems.map((problem) => `  - ${problem}\n`).join('');
  throw new AppError('config_invalid', `The configuration has ${count(problems.length, 'problem')}:\n${list}`, {
    next: 'Mend them and start again; `tandem doctor` checks the rest.',
  });
}

/** Clients hand over `${NAME}` as it stands when they could not fill it in: that is no key. */
function withoutPlaceholders(env: Environment): Environment {
  return Object.fromEntries(Object.entries(env).filter(([, value]) => !/^\$\{[^}]*\}$/.test(value?.trim() ?? '')));
}

/** There is no shell between a client's settings and us that would know `~`. */
function fromHome(path: string): string {
  return path.startsWith('~/') ? join(homedir(), path.slice(2)) : path;
}

/** An environment of one's own, with nothing of the real one but how the server should behave. */
export function onlyManners(own: Environment, real: Environment = process.env): Environment {
  return { ...own, TANDEM_LOG_LEVEL: real.TANDEM_LOG_LEVEL, TANDEM_READ_ONLY: real.TANDEM_READ_ONLY };
}

function readFile(
  given: string | undefined,
  home: string,
  problems: string[],
): { path: string | null; file: ConfigFile | null } {
  const path = given || join(home, 'tandem.yaml');
  if (!existsSync(path)) {
    if (given) problems.push(`TANDEM_CONFIG: there is no file ${path}`);
    return { path: null, file: fileSchema.parse({}) };
  }
  const raw = readYaml(path, problems);
  if (raw === unreadable) return { path, file: null };
  const parsed = fileSchema.safeParse(raw ?? {});
  if (!parsed.success) problems.push(...parsed.error.issues.map(describeIssue));
  problems.push(
    ...repeatedIds(raw).map(({ path: where, id }) => `${where}: "${id}" is used twice; ids must be unique`),
    ...fleetProblems(raw),
  );
  return { path, file: parsed.data ?? null };
}

const unreadable = Symbol('unreadable');

function readYaml(path: string, problems: string[]): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    problems.push(`TANDEM_CONFIG: ${path} cannot be read`);
    return unreadable;
  }
  const document = parseDocument(text, { prettyErrors: true });
  // The parser's message quotes the line, which may hold a key that someone pasted: give code and place only.
  for (const error of document.errors) {
    const at = error.linePos?.[0];
    problems.push(
      `${path}${at ? `:${at.line}:${at.col}` : ''}: not valid YAML (${error.code.toLowerCase().replaceAll('_', ' ')})`,
    );
  }
  return document.errors.length > 0 ? unreadable : document.toJS();
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const path = issue.path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index ? '.' : ''}${String(key)}`))
    .join('');
  return `${path || 'tandem.yaml'}: ${issue.message}`;
}

function oauthOf(file: ConfigFile | null): OAuthConfig | null {
  const given = file?.server.oauth;
  return given ? { issuer: given.issuer, audience: given.audience, jwksUri: given.jwksUri ?? null } : null;
}

function backendsOf(file: ConfigFile, env: Environment, redactor: Redactor): BackendConfig[] {
  const serverless = file.serverless.map((entry): BackendConfig => {
    const preset = entry.preset ? presets[entry.preset] : undefined;
    return {
      ...common(entry, entry.apiKeyEnv ?? preset?.keyEnv, env, redactor),
      kind: 'serverless',
      preset: entry.preset ?? null,
      baseUrl: entry.baseUrl ?? preset?.baseUrl ?? '',
    };
  });
  const dedicated = file.dedicated.map(
    (entry): BackendConfig => ({
      ...common(entry, entry.apiKeyEnv, env, redactor),
      kind: 'dedicated',
      preset: null,
      baseUrl: entry.baseUrl,
    }),
  );
  return [...serverless, ...dedicated];
}

type Entry = ConfigFile['serverless'][number] | ConfigFile['dedicated'][number];

function common(entry: Entry, keyEnv: string | undefined, env: Environment, redactor: Redactor) {
  const value = keyEnv ? env[keyEnv] : undefined;
  return {
    id: entry.id,
    apiKey: keyEnv && value ? secretFromValue(keyEnv, value, redactor) : null,
    unusable: keyEnv && !value ? `its key is not set (environment variable ${keyEnv})` : null,
    timeoutMs: entry.timeoutMs ?? modelServerDefaults.timeoutMs,
    wholeTimeoutMs: entry.timeoutMs ?? modelServerDefaults.wholeTimeoutMs,
    firstTokenTimeoutMs: entry.firstTokenTimeoutMs ?? modelServerDefaults.firstTokenTimeoutMs,
    idleTimeoutMs: entry.idleTimeoutMs ?? modelServerDefaults.idleTimeoutMs,
    maxRetries: entry.maxRetries ?? modelServerDefaults.maxRetries,
    maxConcurrentRequests: entry.maxConcurrentRequests ?? null,
    prefill: entry.prefill ?? null,
    models: entry.models ?? null,
  };
}

/** Presets that the file does not name, switched on by their key. */
function presetsByKey(file: ConfigFile, env: Environment, redactor: Redactor): BackendConfig[] {
  const named = new Set<string>(file.serverless.flatMap((entry) => [entry.id, entry.preset ?? entry.id]));
  for (const entry of file.dedicated) named.add(entry.id);
  for (const name of file.fleet.flatMap(namesOf)) named.add(name);
  return presetIds
    .filter((id) => env[presets[id].keyEnv] && !named.has(id))
    .map((id) => ({
      ...common({ id }, presets[id].keyEnv, env, redactor),
      kind: 'serverless' as const,
      preset: id,
      baseUrl: presets[id].baseUrl,
    }));
}

function lambdaOf(env: Environment, redactor: Redactor, problems: string[]): Config['lambda'] {
  const baseUrl = (env.LAMBDA_API_BASE || lambdaBaseUrl).replace(/\/+$/, '');
  if (!isHttpUrl(baseUrl)) problems.push('LAMBDA_API_BASE: must be an http:// or https:// URL');
  return { baseUrl, apiKey: lambdaKey(env, redactor, problems) };
}

function lambdaKey(env: Environment, redactor: Redactor, problems: string[]): Secret | null {
  const { LAMBDA_API_KEY: value, LAMBDA_API_KEY_FILE: file, LAMBDA_API_KEY_COMMAND: command } = env;
  const given = Object.entries({ LAMBDA_API_KEY: value, LAMBDA_API_KEY_FILE: file, LAMBDA_API_KEY_COMMAND: command });
  const set = given.filter(([, text]) => text).map(([name]) => name);
  if (set.length > 1) problems.push(`${set.join(' and ')}: set only one of them`);
  if (value) return secretFromValue('LAMBDA_API_KEY', value, redactor);
  if (file) return secretFromFile('LAMBDA_API_KEY_FILE', resolve(fromHome(file)), redactor);
  if (command) return secretFromCommand('LAMBDA_API_KEY_COMMAND', command, redactor);
  return null;
}

/** The URL is itself the key to the channel: like a key it is named, never written into the file, never quoted. */
function webhookUrl(file: ConfigFile, env: Environment, redactor: Redactor, problems: string[]): Secret | null {
  const name = file.notices.webhookUrlEnv;
  const url = env[name]?.trim();
  if (!url) return null;
  if (!isHttpUrl(url)) problems.push(`${name}: must hold an http:// or https:// URL (notices.webhookUrlEnv names it)`);
  return secretFromValue(name, url, redactor);
}

function readFlag(name: string, env: Environment, problems: string[]): boolean {
  const value = (env[name] ?? '').trim().toLowerCase();
  if (['', '0', 'false', 'no'].includes(value)) return false;
  if (['1', 'true', 'yes'].includes(value)) return true;
  problems.push(`${name}: must be true or false`);
  return false;
}

function readLogLevel(env: Environment, problems: string[]): LogLevel {
  const value = env.TANDEM_LOG_LEVEL || 'info';
  const level = logLevels.find((known) => known === value);
  if (!level) problems.push(`TANDEM_LOG_LEVEL: must be one of ${logLevels.join(', ')}`);
  return level ?? 'info';
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}
