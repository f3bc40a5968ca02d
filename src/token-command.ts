import { join } from 'node:path';
import { systemClock } from './clock.ts';
import { type Config, type Environment, loadConfig } from './config/index.ts';
import { AppError } from './errors.ts';
import { createLog } from './log.ts';
import { formatUsd, usdToNano } from './money.ts';
import { type Principal, type Scope, scopes } from './principal.ts';
import { openDatabase } from './usage/database.ts';
import { isLive, type Token, TokenBook } from './usage/tokens.ts';

/** `print`: the result, on stdout. `explain`: what people should know, on stderr. */
export interface Output {
  print(line: string): void;
  explain(line: string): void;
}

export interface TokenOptions {
  name: string;
  scope: string;
  budget?: string;
  rate?: string;
  expires: string;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const longestMs = 3650 * dayMs;

/** Prints the secret alone on its line, so that `$(tandem token create ...)` is the secret. */
export async function createToken(options: TokenOptions, { print, explain }: Output, env?: Environment): Promise<void> {
  const wish = {
    name: options.name,
    scopes: parseScopes(options.scope),
    budget: options.budget === undefined ? null : parseBudget(options.budget),
    requestsPerMinute: options.rate === undefined ? null : parseRate(options.rate),
    validMs: parseValidity(options.expires),
  };
  const { token, secret } = await withTokens((tokens) => tokens.create(wish), env);
  print(secret);
  explain(`${token.id} "${token.name}": ${describe(token)}.`);
  explain('The secret is shown this once; only its hash is kept.');
}

export async function listTokens({ print }: Output, env?: Environment): Promise<void> {
  const tokens = await withTokens((book) => book.list(), env);
  if (tokens.length === 0) return print('No tokens. Make one: tandem token create --name NAME --scope infer');
  const nowMs = systemClock.nowMs();
  for (const token of tokens) {
    const state = token.revoked_at_ms !== null ? 'revoked' : isLive(token, nowMs) ? 'live' : 'expired';
    const used = token.last_used_at_ms === null ? 'never used' : `last used ${time(token.last_used_at_ms)}`;
    print(`${token.id}  ${state.padEnd(7)}  ${token.name}: ${describe(token)}; ${used}`);
  }
}

export async function revokeToken(idOrName: string, { explain }: Output, env?: Environment): Promise<void> {
  const token = await withTokens((tokens) => tokens.revoke(idOrName), env);
  explain(`${token.id} "${token.name}" is revoked. Running servers refuse it within five seconds.`);
}

/** Only the ledger's database is opened: no backend, no cloud, no key is needed. */
async function withTokens<Result>(work: (tokens: TokenBook) => Promise<Result>, env?: Environment): Promise<Result> {
  const config: Config = loadConfig(env);
  const database = await openDatabase(join(config.home, 'tandem.db'));
  try {
    return await work(new TokenBook(database, systemClock, createLog(config.logLevel, config.redactor)));
  } finally {
    await database.close();
  }
}

function describe(token: Token): string {
  return [
    token.scopes.split(' ').join(', '),
    token.budget_limit_nano_usd === null
      ? 'no budget of its own'
      : `at most ${formatUsd(token.budget_limit_nano_usd)} a ${token.budget_per}`,
    ...(token.requests_per_minute === null ? [] : [`${token.requests_per_minute} requests a minute`]),
    token.expires_at_ms === null ? 'never expires' : `until ${time(token.expires_at_ms)}`,
  ].join('; ');
}

function time(ms: number): string {
  return new Date(ms).toISOString().replace(/:\d\d\.\d+Z$/, 'Z');
}

function parseScopes(text: string): Scope[] {
  const words = text.split(',').map((word) => word.trim());
  const unknown = words.filter((word) => !scopes.some((scope) => scope === word));
  if (unknown.length > 0) {
    const named = unknown.map((word) => `"${word}"`).join(', ');
    throw invalid(`--scope: there is no scope ${named}.`, `Valid: ${scopes.join(', ')}, separated by commas.`);
  }
  return scopes.filter((scope) => words.includes(scope));
}

function parseBudget(text: string): Principal['budget'] {
  const [, dollars, per] = /^\$?(\d{1,6}(?:\.\d{1,9})?)\/(day|month)$/.exec(text) ?? [];
  if (dollars === undefined || (per !== 'day' && per !== 'month')) {
    throw invalid(`--budget: "${text}" is no budget.`, 'Valid: dollars per day or month, such as 5/day or 100/month.');
  }
  return { limitNanoUsd: usdToNano(Number(dollars)), per };
}

function parseRate(text: string): number {
  const [, rate] = /^(\d{1,6})\/min$/.exec(text) ?? [];
  if (rate === undefined || Number(rate) === 0)
    throw invalid(`--rate: "${text}" is no rate.`, 'Valid: requests per minute, such as 60/min.');
  return Number(rate);
}

/** In milliseconds; null: without end. */
function parseValidity(text: string): number | null {
  if (text === 'never') return null;
  const [, amount, unit] = /^(\d{1,6})(h|d)$/.exec(text) ?? [];
  const validMs = Number(amount) * (unit === 'h' ? hourMs : dayMs);
  if (amount === undefined || validMs === 0 || validMs > longestMs)
    throw invalid(
      `--expires: "${text}" is no time.`,
      'Valid: hours or days up to 3650d, such as 12h or 90d, or never.',
    );
  return validMs;
}

function invalid(message: string, next: string): AppError {
  return new AppError('invalid_input', message, { next });
}
