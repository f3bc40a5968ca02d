/** How big a model is, as far as its name says it. */
export interface ModelSize {
  /** Parameters in billions. */
  billions: number;
  /** Those that work on one token; fewer than all in a mixture of experts. */
  activeBillions: number;
  bytesPerParameter: number;
}

interface Known {
  name: RegExp;
  billions: number;
  activeBillions?: number;
  /** Where the weights are published in fewer bits than 16. */
  bytesPerParameter?: number;
}

const fp8 = 1;
/** Four bits, and the scales beside them. */
const fourBits = 0.55;
const sixteenBits = 2;

/**
 * Models whose names hide their size or their format. Source: their model cards on Hugging Face. In gpt-oss only the
 * experts have four bits: 61 GB and 13 GB in all.
 */
const knownModels: readonly Known[] = [
  { name: /^gpt-oss-(?:safeguard-)?120b/, billions: 117, activeBillions: 5.1, bytesPerParameter: 0.52 },
  { name: /^gpt-oss-(?:safeguard-)?20b/, billions: 21, activeBillions: 3.6, bytesPerParameter: 0.62 },
  { name: /^mixtral-8x7b/, billions: 46.7, activeBillions: 12.9 },
  { name: /^mixtral-8x22b/, billions: 141, activeBillions: 39 },
  { name: /^llama-4-scout/, billions: 109, activeBillions: 17 },
  { name: /^llama-4-maverick/, billions: 402, activeBillions: 17 },
  { name: /^deepseek-(?:v3|r1)(?!.*distill)/, billions: 685, activeBillions: 37, bytesPerParameter: fp8 },
  { name: /^kimi-k2/, billions: 1030, activeBillions: 32, bytesPerParameter: fp8 },
  { name: /^minimax-m2/, billions: 230, activeBillions: 10, bytesPerParameter: fp8 },
  { name: /^glm-4\.[5-7]-air/, billions: 106, activeBillions: 12 },
  { name: /^glm-4\.[5-7](?!.*(?:flash|v))/, billions: 357, activeBillions: 32 },
  { name: /^mistral-large/, billions: 123 },
  { name: /^mistral-nemo/, billions: 12.2 },
  { name: /^c4ai-command-r-plus/, billions: 104 },
  { name: /^c4ai-command-r(?!7b)/, billions: 35 },
  { name: /^c4ai-command-a/, billions: 111 },
  { name: /^phi-4(?!-mini|-multimodal)/, billions: 14.7 },
  { name: /^phi-(?:3|3\.5|4)-mini/, billions: 3.8 },
  { name: /^phi-3-medium/, billions: 14 },
  { name: /^phi-3\.5-moe/, billions: 41.9, activeBillions: 6.6 },
];

/** Null when the name says nothing. Names that other publishers give to their copies are read the same way. */
export function readModelSize(model: string): ModelSize | null {
  const name = (model.split('/').at(-1) ?? '').toLowerCase().replace(/^meta-/, '');
  const known = knownModels.find((entry) => entry.name.test(name));
  const billions = known?.billions ?? billionsIn(name);
  if (billions === null) return null;
  return {
    billions,
    activeBillions: known?.activeBillions ?? activeBillionsIn(name) ?? billions,
    bytesPerParameter: bytesIn(name) ?? known?.bytesPerParameter ?? sixteenBits,
  };
}

/** "8b", "0.5b", "135m", "8x7b". The largest: "14b-instruct-1m" has 14 billion, and a context of a million. */
function billionsIn(name: string): number | null {
  const sizes = [...name.matchAll(/(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])/g)].map(
    ([, experts, size, unit]) => Number(experts ?? 1) * Number(size) * (unit === 'm' ? 0.001 : 1),
  );
  const largest = Math.max(0, ...sizes);
  return largest > 0 ? largest : null;
}

/** "30b-a3b": three billion of thirty. */
function activeBillionsIn(name: string): number | null {
  const found = /(?<![a-z0-9.])a(\d+(?:\.\d+)?)b(?![a-z0-9])/.exec(name);
  return found ? Number(found[1]) : null;
}

function bytesIn(name: string): number | null {
  const has = (pattern: RegExp) => pattern.test(name);
  if (has(/(?<![a-z0-9])(?:bf16|fp16)(?![a-z0-9])/)) return sixteenBits;
  if (has(/fp8|int8|w8a(?:8|16)|8-?bit/)) return fp8;
  if (has(/awq|gptq|int4|w4a(?:4|8|16)|4-?bit|mxfp4|nvfp4|nf4|(?<![a-z0-9])fp4/)) return fourBits;
  return null;
}
