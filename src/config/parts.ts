import { IANAZone } from 'luxon';
import { z } from 'zod';

/** Words that mean a group of backends where an id is expected. */
export const reservedBackendIds = ['auto', 'serverless', 'dedicated'];

/** A strict object whose complaint about an unknown key names the keys that are allowed. */
export function block<Shape extends z.ZodRawShape>(shape: Shape) {
  const allowed = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? `unknown key ${(issue.keys as string[]).map((key) => `"${key}"`).join(', ')}; allowed: ${allowed}`
        : undefined,
  });
}

export const backendId = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$/, { error: 'must be letters, digits, dot, dash or underscore, at most 63' })
  .refine((id) => !reservedBackendIds.includes(id), {
    error: `must not be one of the reserved words ${reservedBackendIds.join(', ')}`,
  });

/** Never quoted when it does not fit: people paste the key itself. */
export const environmentName = z.string().regex(/^[A-Z_][A-Z0-9_]*$/, {
  error: 'must be the NAME of an environment variable (capitals, digits, underscores), not the key itself',
});

export const timeZone = z
  .string()
  .refine((zone) => IANAZone.isValidZone(zone), { error: 'must be an IANA time zone such as America/New_York' });

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
