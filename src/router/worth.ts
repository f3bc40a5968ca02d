import type { Priority } from '../config/schema.ts';
import { usdToNano } from '../money.ts';

/** What a good answer, and a second of waiting, are worth under a priority. Their ratio to prices is what decides. */
export const worthByPriority: Record<Priority, { answerNanoUsd: number; secondNanoUsd: number }> = {
  low_cost: { answerNanoUsd: usdToNano(0.002), secondNanoUsd: 0 },
  balanced: { answerNanoUsd: usdToNano(0.02), secondNanoUsd: usdToNano(0.0001) },
  performance: { answerNanoUsd: usdToNano(1), secondNanoUsd: usdToNano(0.0001) },
  latency_critical: { answerNanoUsd: usdToNano(0.02), secondNanoUsd: usdToNano(0.001) },
};
