import type { BackendConfig } from '../../config/index.ts';
import { presets } from '../../config/presets.ts';
import type { ModelConfig, Tier } from '../../config/schema.ts';
import { type CatalogueModel, catalogueOf, priceFromUsd } from '../../usage/prices.ts';
import type { Model } from '../types.ts';

/** Parameters in billions up to which a model counts as small or medium. */
const smallUpToBillions = 25;
const mediumUpToBillions = 65;

/** Without a size in its name a model is placed by the price of its output, in nano-dollars per million tokens. */
const smallUpToNanoUsd = 0.25e9;
const mediumUpToNanoUsd = 0.6e9;

/** Ids of models that do not answer prompts. */
const notChat =
  /embed|rerank|guard|moderation|whisper|tts|speech|audio|image|flux|diffusion|ocr|reward|vision-only|safeguard/i;

/**
 * Well-known general models, best first, by tier: what the router may pick from a provider that lists hundreds.
 * Where none of them is listed any more, the cheapest priced chat model of the tier takes the place.
 */
const preferred: Record<Tier, RegExp[]> = {
  small: [/gpt-oss-20b$/i, /qwen3(\.\d)?-(8|9)b/i, /llama-3\.1-8b/i, /gemma-\d+-(9|12)b/i],
  medium: [/qwen3(\.\d)?-3[0-9]b/i, /gemma-\d+-(27|31)b/i, /mistral-small/i],
  large: [/gpt-oss-120b$/i, /qwen3(\.\d)?-235b/i, /llama-3\.3-70b/i, /deepseek-v\d/i],
};

/** What the price snapshot has of a backend's provider. */
export function catalogueFor({ preset }: Pick<BackendConfig, 'preset'>): readonly CatalogueModel[] {
  return preset ? catalogueOf(presets[preset].catalogue) : [];
}

/** What is known of a backend's models before it was asked. */
export function modelsBeforehand(config: Pick<BackendConfig, 'preset' | 'models'>): Model[] {
  const catalogue = catalogueFor(config);
  return config.models ? configuredModels(config.models, catalogue) : discoveredModels(null, catalogue);
}

/** Models as the configuration gives them; what it leaves out comes from the snapshot, where that knows the model. */
export function configuredModels(models: readonly ModelConfig[], catalogue: readonly CatalogueModel[]): Model[] {
  return models.map((model) => {
    const known = catalogue.find((entry) => entry.id === model.id);
    const price = model.price ? priceFromUsd(model.price, 'config', null) : (known?.price ?? null);
    return {
      id: model.id,
      tier: model.tier ?? tierOf(model.id, price?.outputNanoUsdPerMTok),
      contextWindowTokens: model.contextWindow ?? known?.contextWindowTokens ?? null,
      maxOutputTokens: model.maxOutputTokens ?? null,
      price,
      auto: model.auto ?? true,
      supports: model.supports ?? null,
    };
  });
}

/** Models as the server lists them (null: it could not be asked), with prices and windows from the snapshot. */
export function discoveredModels(listed: readonly ListedModel[] | null, catalogue: readonly CatalogueModel[]): Model[] {
  const known = new Map(catalogue.map((entry) => [entry.id, entry]));
  const entries: ListedModel[] = listed
    ? [...listed]
    : catalogue.map(({ id }) => ({ id, contextWindowTokens: null, supports: null }));
  const models = entries.map((entry): Model => {
    const price = known.get(entry.id)?.price ?? null;
    return {
      id: entry.id,
      tier: tierOf(entry.id, price?.outputNanoUsdPerMTok),
      contextWindowTokens: entry.contextWindowTokens ?? known.get(entry.id)?.contextWindowTokens ?? null,
      maxOutputTokens: null,
      price,
      auto: false,
      supports: entry.supports,
    };
  });
  // A server without any known price is somebody's own: all that it serves may be picked.
  const priced = models.filter((model) => model.price && !notChat.test(model.id));
  if (priced.length === 0) return models.map((model) => ({ ...model, auto: !notChat.test(model.id) }));
  const picked = new Set(
    (['small', 'medium', 'large'] as const).map((tier) =>
      pick(
        priced.filter((model) => model.tier === tier),
        tier,
      ),
    ),
  );
  return models.map((model) => ({ ...model, auto: picked.has(model.id) }));
}

export interface ListedModel {
  id: string;
  contextWindowTokens: number | null;
  supports: Model['supports'];
}

function pick(models: Model[], tier: Tier): string | undefined {
  for (const pattern of preferred[tier]) {
    const found = models.find((model) => pattern.test(model.id));
    if (found) return found.id;
  }
  return models.toSorted((one, other) => priceRank(one) - priceRank(other))[0]?.id;
}

function priceRank({ price }: Model): number {
  return price ? price.inputNanoUsdPerMTok + price.outputNanoUsdPerMTok : Number.POSITIVE_INFINITY;
}

/** By the size in the name ("8b", "8x7b": the product), else by price, else medium. */
export function tierOf(id: string, outputNanoUsdPerMTok: number | undefined): Tier {
  const size = /(?:^|[^a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])/i.exec(id);
  if (size) {
    const billions = Number(size[1] ?? 1) * Number(size[2]);
    return billions <= smallUpToBillions ? 'small' : billions <= mediumUpToBillions ? 'medium' : 'large';
  }
  if (outputNanoUsdPerMTok === undefined) return 'medium';
  return outputNanoUsdPerMTok <= smallUpToNanoUsd
    ? 'small'
    : outputNanoUsdPerMTok <= mediumUpToNanoUsd
      ? 'medium'
      : 'large';
}
