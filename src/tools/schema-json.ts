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
    // That there is something at all: everybody means that, and who does not is told.
    if ((key === 'minLength' || key === 'minItems') && inner === 1) return false;
    if (key === 'exclusiveMinimum' && inner === 0) return false;
    // Safe-integer bounds that zod adds to every integer.
    if ((key === 'minimum' || key === 'maximum') && Math.abs(Number(inner)) === Number.MAX_SAFE_INTEGER) return false;
    // Results may grow: what a schema does not name is allowed, which is JSON Schema's default.
    return !(key === 'additionalProperties' && io === 'output') && !(key === 'properties' && isEmpty(inner));
  });
  return singleTypes(Object.fromEntries(kept.map(([key, inner]) => [key, compact(inner, io)])));
}

/** `type: [X, null]` -> `anyOf`: clients that map schemas to a dialect of one type each cannot read lists of types. */
function singleTypes(schema: Json): Json {
  const { type, ...rest } = schema;
  return Array.isArray(type) ? { ...rest, anyOf: type.map((each) => ({ type: each })) } : schema;
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
