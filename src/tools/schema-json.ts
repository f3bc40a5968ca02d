import { z } from 'zod';

type Json = Record<string, unknown>;

/** The schema as clients get it: JSON Schema without the parts that only cost tokens. */
export function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): Json {
  return compact(z.toJSONSchema(schema, { target: 'draft-7', io }) as Json, io) as Json;
}

function compact(value: unknown, io: 'input' | 'output'): unknown {
  if (Array.isArray(value)) return value.map((inner) => compact(inner, io));
  if (typeof value !== 'object' || value === null) return value;
  const schema = value as Json;
  const kept = Object.entries(schema).filter(([key, inner]) => {
    if (key === '$schema') return false;
    // Safe-integer bounds that zod adds to every integer.
    if ((key === 'minimum' || key === 'maximum') && Math.abs(Number(inner)) === Number.MAX_SAFE_INTEGER) return false;
    // Results may grow: what a schema does not name is allowed, which is JSON Schema's default.
    return !(key === 'additionalProperties' && io === 'output') && !(key === 'properties' && isEmpty(inner));
  });
  const result = Object.fromEntries(kept.map(([key, inner]) => [key, compact(inner, io)]));
  return nullable(result);
}

/** `anyOf: [{type: X}, {type: null}]` -> `type: [X, null]`. */
function nullable(schema: Json): Json {
  const { anyOf, ...rest } = schema;
  if (!Array.isArray(anyOf) || anyOf.length !== 2) return schema;
  const [one, other] = anyOf as [Json, Json];
  if (other.type !== 'null' || typeof one.type !== 'string') return schema;
  return { ...one, ...rest, type: [one.type, 'null'] };
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
