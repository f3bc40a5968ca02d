import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { FleetEntry } from '../config/schema.ts';
import { fitModel } from './serving/model-fit.ts';

/** What instance types cost, in cents per hour. */
export type Prices = ReadonlyMap<string, number>;

/** What one machine of an entry costs, and how long before its window it is launched. */
export interface Rate {
  type: string;
  centsPerHour: number;
  leadMs: number;
}

/** The machine that an entry gets when its wish is granted, and the dearest that it may get. */
export interface Quote {
  usual: Rate;
  worst: Rate;
  /** No type costs as little as `maxHourlyUsd`: nothing would be launched. Both rates are what it may cost. */
  isTooDear: boolean;
}

const minuteMs = 60_000;
const usualLead = { eight: 25 * minuteMs, fewer: 15 * minuteMs };

const snapshotFile = z.object({
  as_of: z.string(),
  types: z.record(
    z.string(),
    z.object({
      instance_type: z.object({
        price_cents_per_hour: z.int(),
        gpu_description: z.string(),
        specs: z.object({ gpus: z.int() }),
      }),
      gpu_memory_gb: z.number().nullish(),
    }),
  ),
});

/** The list of types that comes with Tandem. */
function snapshot() {
  // The same path from src/lambda and from dist/lambda.
  const file = new URL('../../data/lambda-instance-types-2026-09.json', import.meta.url);
  return snapshotFile.parse(JSON.parse(readFileSync(file, 'utf8')));
}

/** Those types of an entry that its model does not fit, with the arithmetic. What is not known is not among them. */
export function misfitsOf({ model, maxContext, types }: FleetEntry): { type: string; arithmetic: string }[] {
  const known = snapshot().types;
  return types.flatMap((name) => {
    const type = known[name];
    if (!type) return [];
    const { gpu_description: gpuDescription, specs } = type.instance_type;
    const machine = { name, gpus: specs.gpus, gpuDescription, gpuMemoryGb: type.gpu_memory_gb ?? null };
    const { fits, arithmetic } = fitModel({ model, maxContext }, machine);
    return fits ? [] : { type: name, arithmetic };
  });
}

/** The price list that comes with Tandem, for when Lambda cannot be asked, and the month of which it is. */
export function priceSnapshot(): { asOf: string; prices: Prices } {
  const { as_of, types } = snapshot();
  const prices = Object.entries(types).map(
    ([name, entry]) => [name, entry.instance_type.price_cents_per_hour] as const,
  );
  return { asOf: as_of, prices: new Map(prices) };
}

/** How long a type takes to boot and to load a model, as long as nothing was learned. Machines of eight GPUs take longest. */
export function usualLeadMs(type: string): number {
  return type.startsWith('gpu_8x_') ? usualLead.eight : usualLead.fewer;
}

/** The same, as long as the slowest of the last boots took. */
export function leadMsOf(type: string, bootTimesMs: readonly number[]): number {
  return bootTimesMs.length > 0 ? Math.max(...bootTimesMs) : usualLeadMs(type);
}

/** Null when the price of a type is not known and the entry names no limit: it can cost anything. */
export function quoteFor(
  entry: FleetEntry,
  prices: Prices,
  leadMs: (type: string) => number = usualLeadMs,
): Quote | null {
  const cap = entry.maxCentsPerHour;
  const rates: Rate[] = [];
  for (const type of entry.types) {
    // Of a type without a known price all that is known is what it may cost.
    const centsPerHour = prices.get(type) ?? cap;
    if (centsPerHour === null) return null;
    if (cap === null || centsPerHour <= cap) rates.push({ type, centsPerHour, leadMs: leadMs(type) });
  }
  const [usual] = rates;
  if (!usual) {
    const [type] = entry.types;
    if (cap === null || type === undefined) return null;
    const rate = { type, centsPerHour: cap, leadMs: leadMs(type) };
    return { usual: rate, worst: rate, isTooDear: true };
  }
  const dearest = rates.reduce((most, rate) => (rate.centsPerHour > most.centsPerHour ? rate : most));
  const worst = { ...dearest, leadMs: Math.max(...rates.map((rate) => rate.leadMs)) };
  return { usual, worst, isTooDear: false };
}
