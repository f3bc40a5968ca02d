/**
 * OpenAI-compatible providers known by name. A key that is present in the environment switches its preset on.
 * Base URLs and key variables as the providers document them (read July 2026); `catalogue` is the provider's name
 * in the price snapshot under data/.
 */
export const presets = {
  together: { baseUrl: 'https://api.together.ai/v1', keyEnv: 'TOGETHER_API_KEY', catalogue: 'togetherai' },
  deepinfra: { baseUrl: 'https://api.deepinfra.com/v1/openai', keyEnv: 'DEEPINFRA_API_KEY', catalogue: 'deepinfra' },
  fireworks: {
    baseUrl: 'https://api.fireworks.ai/inference/v1',
    keyEnv: 'FIREWORKS_API_KEY',
    catalogue: 'fireworks-ai',
  },
  groq: { baseUrl: 'https://api.groq.com/openai/v1', keyEnv: 'GROQ_API_KEY', catalogue: 'groq' },
  openrouter: { baseUrl: 'https://openrouter.ai/api/v1', keyEnv: 'OPENROUTER_API_KEY', catalogue: 'openrouter' },
  nebius: { baseUrl: 'https://api.tokenfactory.nebius.com/v1', keyEnv: 'NEBIUS_API_KEY', catalogue: 'nebius' },
  baseten: { baseUrl: 'https://inference.baseten.co/v1', keyEnv: 'BASETEN_API_KEY', catalogue: 'baseten' },
  huggingface: { baseUrl: 'https://router.huggingface.co/v1', keyEnv: 'HF_TOKEN', catalogue: 'huggingface' },
  cerebras: { baseUrl: 'https://api.cerebras.ai/v1', keyEnv: 'CEREBRAS_API_KEY', catalogue: 'cerebras' },
  novita: { baseUrl: 'https://api.novita.ai/openai', keyEnv: 'NOVITA_API_KEY', catalogue: 'novita-ai' },
} as const;

export type PresetId = keyof typeof presets;

export const presetIds = Object.keys(presets) as PresetId[];

/** Lambda's own Inference API is gone, but many guides and price tables still name it. */
export const lambdaPresetEnded = `Lambda's Inference API ended on 2025-09-25; choose one of: ${presetIds.join(', ')}`;
