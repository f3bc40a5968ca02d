import type * as z from 'zod';
import { Refusal } from './refusal.ts';

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  /** Returns the whole success body. Throws a Refusal otherwise. */
  handle(call: Call): unknown;
}

export interface Call {
  /** The `{id}` in the path; empty where there is none. */
  id: string;
  query: unknown;
  body: unknown;
  client: Client;
}

/** Who sent a request, for the audit log. */
export interface Client {
  ip: string;
  userAgent: string;
}

/** The input as the schema reads it, or a 400 that names every fault. */
export function readInput<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path, message }) =>
    path.length > 0 ? `${path.join('.')}: ${message}` : message,
  );
  throw new Refusal('global/invalid-parameters', { message: faults.join('; ') });
}

/** One page of a list, and the token that asks for the next one (null on the last). */
export function paginate<T>(
  items: readonly T[],
  pageSize: number,
  pageToken: string | undefined,
): { page: T[]; nextToken: string | null } {
  const from = pageToken === undefined ? 0 : Number(Buffer.from(pageToken, 'base64url').toString());
  if (!Number.isInteger(from) || from < 0) {
    throw new Refusal('global/invalid-parameters', { message: 'page_token: Not a token of this list' });
  }
  const to = from + pageSize;
  const nextToken = to < items.length ? Buffer.from(String(to)).toString('base64url') : null;
  return { page: items.slice(from, to), nextToken };
}
