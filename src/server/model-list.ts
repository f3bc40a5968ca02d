import type { Backend } from '../router/types.ts';
import { routedNames } from './model-name.ts';

/** A model as `GET /v1/models` lists it. Source: OpenAI API reference, model object. */
export interface ListedModel {
  id: string;
  object: 'model';
  /** Seconds since the epoch; nobody tells when its models were made. */
  created: 0;
  owned_by: string;
}

/** Every name that a request may use: those under which the router picks, and each model of each backend. */
export function listModels(backends: readonly Backend[]): ListedModel[] {
  const routed = routedNames.map((name) => listed(name, 'tandem'));
  const offered = backends
    .filter(({ unusable }) => unusable === null)
    .flatMap((backend) => backend.models().map(({ id }) => listed(`${backend.id}/${id}`, backend.id)));
  return [...routed, ...offered];
}

/** The entry of a name that a request may use; a bare id is listed under the backends that have it. */
export function findModel(backends: readonly Backend[], name: string): ListedModel | undefined {
  const listedAs = listModels(backends).find(({ id }) => id === name);
  if (listedAs) return listedAs;
  const backend = backends.find((candidate) => candidate.models().some(({ id }) => id === name));
  return backend && listed(name, backend.id);
}

/** Brings all lists up to date that are due; how long that takes at most is the backends' affair. */
export async function refreshAll(backends: readonly Backend[]): Promise<void> {
  await Promise.all(backends.map((backend) => backend.refresh()));
}

function listed(id: string, owner: string): ListedModel {
  return { id, object: 'model', created: 0, owned_by: owner };
}
