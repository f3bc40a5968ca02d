import type { Priority, Tier } from '../config/schema.ts';
import type { Calibration } from '../usage/calibrations.ts';
import type { Prediction } from '../usage/observations.ts';
import { applyCalibration } from './complexity/calibration.ts';
import { route } from './route.ts';
import { needsNothing, type Snapshot } from './types.ts';

/** Where requests go, as shares of them, and what that costs. */
export interface Shares {
  requests: number;
  tiers: Record<Tier, number>;
  serverless: number;
  /** On average, of those whose price is known; null: of none. */
  costNanoUsd: number | null;
}

/** Where these requests would go now, with nothing asked for but a priority, under a calibration. Calls no model. */
export function sharesUnder(
  calibration: Calibration,
  requests: readonly Prediction[],
  priority: Priority,
  snapshot: Snapshot,
): Shares {
  const count = { small: 0, medium: 0, large: 0, serverless: 0, priced: 0, routed: 0 };
  let costNanoUsd = 0;
  for (const { score, suffices, inputTokens } of requests) {
    const complexity = { score, suffices: applyCalibration(suffices, calibration), predicted: suffices, features: [] };
    const request = { operation: 'chat', priority, backend: 'auto', choices: 1, needs: needsNothing } as const;
    const [chosen] = route({ request, complexity, inputTokens: inputTokens ?? 0 }, snapshot).candidates;
    if (!chosen || chosen.verdict === 'excluded') continue;
    count.routed += 1;
    count[chosen.tier] += 1;
    if (chosen.kind === 'serverless') count.serverless += 1;
    if (chosen.predictedCostNanoUsd === null) continue;
    count.priced += 1;
    costNanoUsd += chosen.predictedCostNanoUsd;
  }
  const shareOf = (amount: number) => (count.routed === 0 ? 0 : amount / count.routed);
  return {
    requests: count.routed,
    tiers: { small: shareOf(count.small), medium: shareOf(count.medium), large: shareOf(count.large) },
    serverless: shareOf(count.serverless),
    costNanoUsd: count.priced === 0 ? null : Math.round(costNanoUsd / count.priced),
  };
}
