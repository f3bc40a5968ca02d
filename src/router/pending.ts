import type { Privacy } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import { mayHavePrompts } from './constraints.ts';
import type { Backend, ModelRequest, Pending } from './types.ts';

/** When nobody knows how long it takes. */
const usualWaitMs = 60_000;

/**
 * A request for a backend or a model that is still on its way is meant for whoever can answer now: serverless models
 * stand in until then. Throws `overloaded` where nobody may or can.
 */
export function standIn(
  request: ModelRequest,
  backends: readonly Backend[],
  pending: readonly Pending[],
  privacy: Privacy,
): ModelRequest {
  const awaited = awaitedBy(request, backends, pending, privacy);
  if (!awaited) return request;
  const standsIn = backends.some((backend) => backend.kind === 'serverless' && mayHavePrompts(backend, privacy));
  // Embeddings of different models cannot be mixed.
  if (!standsIn || request.operation === 'embeddings') {
    const why = standsIn ? 'embeddings of other models would not fit to its own' : 'nothing else may answer';
    throw new AppError('overloaded', `${sayPending(awaited)}, and ${why}.`, {
      retryAfterMs: awaited.readyInMs ?? usualWaitMs,
    });
  }
  return { ...request, backend: 'serverless', model: undefined };
}

/** What the request asks for, or has to wait for, and nobody offers yet. */
function awaitedBy(
  { backend: wanted, model }: ModelRequest,
  backends: readonly Backend[],
  pending: readonly Pending[],
  privacy: Privacy,
): Pending | undefined {
  if (pending.length === 0) return undefined;
  const named = pending.find(({ backend }) => backend === wanted || model?.startsWith(`${backend}/`));
  if (named) return named;
  const takesAny = wanted === 'auto' && model === undefined && privacy === 'dedicated_only';
  if ((wanted === 'dedicated' || takesAny) && !backends.some(({ kind }) => kind === 'dedicated')) return pending[0];
  if (model === undefined) return undefined;
  const isOffered = backends.some((backend) =>
    backend.models().some(({ id }) => id === model || `${backend.id}/${id}` === model),
  );
  return isOffered ? undefined : pending.find((candidate) => candidate.model === model);
}

/** `"analysts-1" (gpt-oss-120b) is booting, ready in about 6 min`. */
export function sayPending({ backend, model, state, readyInMs }: Pending): string {
  const doing = state === 'waiting' ? 'waits for a GPU' : `is ${state}`;
  const when = readyInMs === null ? '' : `, ready in about ${Math.max(1, Math.round(readyInMs / 60_000))} min`;
  return `"${backend}" (${model}) ${doing}${when}`;
}
