import { type Priority, priorities } from '../config/schema.ts';
import { AppError } from '../errors.ts';

/** What a `model` field of the OpenAI API means here. */
export interface ModelName {
  /** `auto`, `serverless` or `dedicated`: who may answer. */
  backend: string;
  /** A model id or `backend/model`; undefined: the router picks. */
  model: string | undefined;
  /** Undefined: the configured one. */
  priority: Priority | undefined;
  /** Instead of a priority (`auto:quality=0.95`). */
  quality: number | undefined;
}

/** Less is no wish for quality. */
const leastQuality = 0.5;
const groups = ['auto', 'serverless', 'dedicated'] as const;

/** Names under which the router picks, for the list of models. */
export const routedNames: readonly string[] = groups.flatMap((group) => [
  group,
  ...priorities.map((priority) => `${group}:${priority}`),
]);

/** `auto`, `serverless` and `dedicated`, each also with `:priority`; anything else names a model. */
export function parseModelName(name: string): ModelName {
  const [group = '', ...rest] = name.split(':');
  if (!groups.some((known) => known === group))
    return { backend: 'auto', model: name, priority: undefined, quality: undefined };
  if (rest.length === 0) return { backend: group, model: undefined, priority: undefined, quality: undefined };
  const wanted = rest.join(':');
  const priority = priorities.find((known) => known === wanted);
  if (priority) return { backend: group, model: undefined, priority, quality: undefined };
  const quality = Number(/^quality=(0\.\d{1,4}|1)$/.exec(wanted)?.[1]);
  if (quality >= leastQuality) return { backend: group, model: undefined, priority: undefined, quality };
  throw new AppError('invalid_input', `There is no priority "${wanted}".`, {
    next: `Valid: ${priorities.map((known) => `${group}:${known}`).join(', ')}, ${group}:quality=0.95 (from ${leastQuality} to 1).`,
  });
}
