import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { nanoPerUsd } from '../money.ts';
import type { CostSource } from './tables.ts';

/** List price of a model, in nano-dollars per million tokens. */
export interface Price {
  inputNanoUsdPerMTok: number;
  outputNanoUsdPerMTok: number;
  /** Input tokens that the provider had cached; the full input price where the table has none. */
  cachedInputNanoUsdPerMTok: number;
  source: Extract<CostSource, 'config' | 'snapshot'>;
  /** The day the price was read, `YYYY-MM-DD`; null for the user's own, which is always current. */
  asOf: string | null;
}

/** Tokens of one answer. Cached tokens are part of the input, reasoning tokens part of the output. */
export interface Usage {
  inputTokens: number;
  cachedInputTokens: number;
  outputTokens: number;
  reasoningTokens: number;
}

export interface CatalogueModel {
  id: string;
  contextWindowTokens: number | null;
  price: Price;
}

const tokensPerMTok = 1_000_000;

export function priceFromUsd(
  usd: { inputUsdPerMTok: number; outputUsdPerMTok: number; cachedInputUsdPerMTok?: number | undefined },
  source: Price['source'],
  asOf: string | null,
): Price {
  return {
    inputNanoUsdPerMTok: Math.round(usd.inputUsdPerMTok * nanoPerUsd),
    outputNanoUsdPerMTok: Math.round(usd.outputUsdPerMTok * nanoPerUsd),
    cachedInputNanoUsdPerMTok: Math.round((usd.cachedInputUsdPerMTok ?? usd.inputUsdPerMTok) * nanoPerUsd),
    source,
    asOf,
  };
}

/** Rounded up to the next nano-dollar, so that a reservation never falls short of a cost. */
export function tokenCostNano(price: Price, usage: Usage): number {
  const fresh = usage.inputTokens - usage.cachedInputTokens;
  const total =
    fresh * price.inputNanoUsdPerMTok +
    usage.cachedInputTokens * price.cachedInputNanoUsdPerMTok +
    usage.outputTokens * price.outputNanoUsdPerMTok;
  return Math.ceil(total / tokensPerMTok);
}

const snapshotSchema = z.object({
  snapshot: z.string(),
  providers: z.record(
    z.string(),
    z.object({
      models: z.record(
        z.string(),
        z.object({
          in: z.number(),
          out: z.number(),
          cache_read: z.number().optional(),
          context: z.number().optional(),
        }),
      ),
    }),
  ),
});

let snapshot: z.output<typeof snapshotSchema> | undefined;

/**
 * Models and prices of one provider from the dated snapshot that ships with the product.
 * Source: models.dev (MIT), see THIRD_PARTY_NOTICES.md. Prices churn within weeks: the date travels with each price.
 */
export function catalogueOf(provider: string): CatalogueModel[] {
  snapshot ??= snapshotSchema.parse(
    JSON.parse(readFileSync(new URL('../../data/serverless-prices-2026-07-02.json', import.meta.url), 'utf8')),
  );
  const asOf = snapshot.snapshot;
  return Object.entries(snapshot.providers[provider]?.models ?? {}).map(([id, model]) => ({
    id,
    contextWindowTokens: model.context || null,
    price: priceFromUsd(
      { inputUsdPerMTok: model.in, outputUsdPerMTok: model.out, cachedInputUsdPerMTok: model.cache_read },
      'snapshot',
      asOf,
    ),
  }));
}
