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

function listed(id: string, owner: string): ListedModel {
  return { id, object: 'model', created: 0, owned_by: owner };
}
