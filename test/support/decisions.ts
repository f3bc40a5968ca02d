import { sufficesAt } from '../../src/router/complexity/prior.ts';
import { route, type Sized } from '../../src/router/route.ts';
import type { BackendSnapshot, Candidate, Model, Snapshot } from '../../src/router/types.ts';
import { priceFromUsd } from '../../src/usage/prices.ts';

export function modelOf(id: string, about: Partial<Model> = {}): Model {
  const unknown = { contextWindowTokens: null, maxOutputTokens: null, price: null, supports: null };
  return { id, tier: 'small', ...unknown, auto: true, ...about };
}

export function backendOf(id: string, models: Model[], about: Partial<BackendSnapshot> = {}): BackendSnapshot {
  const idle = { health: { usable: true, reason: null }, callsUnderWay: 0, maxConcurrentRequests: null };
  return { id, kind: 'serverless', models, unusable: null, ...idle, ...about };
}

export function snapshotOf(backends: BackendSnapshot[], about: Partial<Snapshot> = {}): Snapshot {
  return { backends, speeds: new Map(), fallbacks: {}, privacy: 'any', budgetLeftNanoUsd: 1e9, ...about };
}

/** A serverless backend of one model, whose output costs four times its input. */
export function serverlessOf(id: string, tier: Model['tier'], inputUsdPerMTok: number): BackendSnapshot {
  const price = priceFromUsd({ inputUsdPerMTok, outputUsdPerMTok: 4 * inputUsdPerMTok }, 'config', null);
  return backendOf(id, [modelOf('m', { tier, price })]);
}

/** A small, a medium and a large model, and money for all of them. */
export const ladder = snapshotOf(
  [serverlessOf('cheap', 'small', 0.05), serverlessOf('middle', 'medium', 0.4), serverlessOf('best', 'large', 5)],
  { budgetLeftNanoUsd: 1e12 },
);

export function sizedAs(about: Partial<Sized['request']> = {}, inputTokens = 100): Sized {
  return {
    request: { operation: 'chat', priority: 'balanced', backend: 'auto', choices: 1, needs: [], ...about },
    complexity: { score: 0.2, suffices: sufficesAt(0.2), features: [] },
    inputTokens,
  };
}

/** Each candidate with what excludes it, or its verdict; in the order in which they would be asked. */
export function verdictsOf(sized: Sized, snapshot: Snapshot): string[] {
  return route(sized, snapshot).candidates.map(
    ({ backend, model, constraint, verdict }: Candidate) => `${backend}/${model} ${constraint ?? verdict}`,
  );
}
