import type { Tier } from '../../config/schema.ts';
import type { Suffices } from '../types.ts';
import { chance, logOdds } from './prior.ts';

/** Where a tier stands between the small (0) and the large model (1) of which the scorer speaks. */
export const standing: Record<Tier, number> = { small: 0, medium: 0.375, large: 1 };

/** The chance that a model does which stands there. */
export function suitabilityAt(place: number, { small, large }: Suffices): number {
  return chance(logOdds(small) + place * (logOdds(large) - logOdds(small)));
}
