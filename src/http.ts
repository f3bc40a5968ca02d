import { isIPv4 } from 'node:net';
import { AppError } from './errors.ts';

export const userAgent = 'lambda-tandem (+https://www.npmjs.com/package/lambda-tandem)';

/** No server is left alone for longer because it said so: it may have meant milliseconds, or no good. */
const longestRetryAfterMs = 3_600_000;

/** A `Retry-After` header in milliseconds: seconds or an HTTP date. `undefined` when absent or unreadable. */
export function parseRetryAfter(header: string | string[] | undefined, nowMs: number): number | undefined {
  const value = Array.isArray(header) ? header[0] : header;
  if (value === undefined) return undefined;
  const seconds = Number(value);
  if (value.trim() !== '' && Number.isFinite(seconds)) return sensibleWait(seconds * 1000);
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : sensibleWait(dateMs - nowMs);
}

function sensibleWait(ms: number): number {
  return Math.min(longestRetryAfterMs, Math.max(0, ms));
}

/** Whether a host or address leads to this machine and nowhere else. IPv6 with or without brackets. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, '$1');
  const address = name.replace(/^::ffff:/, '');
  return name === 'localhost' || name === '::1' || (isIPv4(address) && address.startsWith('127.'));
}

/** What an error body says, in one line: JSON `message`, an HTML title, or the start of the text. */
export function describeBody(body: string): string {
  const json = parseJson(body);
  const fromJson = messageIn(json);
  if (fromJson) return oneLine(fromJson);
  if (/^\s*</.test(body)) {
    const title = /<title[^>]*>([^<]*)/i.exec(body)?.[1]?.trim();
    return title ? `an HTML page titled "${oneLine(title)}"` : 'an HTML page';
  }
  return oneLine(body) || 'an empty body';
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Connection-level failures (refused, reset, DNS, TLS) as one of our errors; AppErrors pass through unchanged. */
export function toNetworkError(error: unknown, who: string): AppError {
  if (error instanceof AppError) return error;
  const code = errorCode(error);
  const reason = networkReasons[code] ?? (error instanceof Error ? error.message : String(error));
  return new AppError('upstream_unavailable', `${who} could not be reached: ${reason}.`, { cause: error });
}

const networkReasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  ENOTFOUND: 'the host name does not resolve',
  EAI_AGAIN: 'the host name does not resolve',
  ETIMEDOUT: 'connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'connection timed out',
  UND_ERR_SOCKET: 'the connection was closed',
};

function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if ('code' in error && typeof error.code === 'string') return error.code;
  return 'cause' in error ? errorCode(error.cause) : '';
}

function messageIn(json: unknown): string | undefined {
  if (typeof json === 'string') return json;
  if (typeof json !== 'object' || json === null) return undefined;
  for (const key of ['error', 'message', 'detail']) {
    const found = key in json ? messageIn((json as Record<string, unknown>)[key]) : undefined;
    if (found) return found;
  }
  return undefined;
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}
