import type { Priority } from '../config/schema.ts';
import { usdToNano } from '../money.ts';
import type { QualityGoal } from './types.ts';

interface Worth {
  answerNanoUsd: number;
  secondNanoUsd: number;
}

/** What a good answer, and a second of waiting, are worth under a priority. Their ratio to prices is what decides. */
export const worthByPriority: Record<Priority, Worth> = {
  low_cost: { answerNanoUsd: usdToNano(0.002), secondNanoUsd: 0 },
  balanced: { answerNanoUsd: usdToNano(0.02), secondNanoUsd: usdToNano(0.0001) },
  performance: { answerNanoUsd: usdToNano(1), secondNanoUsd: usdToNano(0.0001) },
  latency_critical: { answerNanoUsd: usdToNano(0.02), secondNanoUsd: usdToNano(0.001) },
};

/** Under a priority, or where it is known how, for the quality that was asked for in its place. */
export function worthFor(priority: Priority, quality: QualityGoal | null | undefined): Worth {
  if (quality?.answerNanoUsd == null) return worthByPriority[priority];
  return { ...worthByPriority.balanced, answerNanoUsd: quality.answerNanoUsd };
}
