import type { Tier } from '../../config/schema.ts';
import type { InstanceType } from '../schema.ts';
import { type ModelSize, readModelSize } from './model-size.ts';

export interface Fit {
  fits: boolean;
  /** To be shown: "61 GB weights + 12 GB cache and runtime of 96 GB". */
  arithmetic: string;
  tier: Tier;
  /** Null: the model's name does not say how big it is. */
  neededGb: number | null;
}

/** What is asked of an instance type. */
type Machine = Pick<InstanceType, 'name' | 'gpus' | 'gpuDescription' | 'gpuMemoryGb'>;

/** Of the weights, for cache and runtime, where no context was asked for: the server takes what is left. */
const usualShare = 0.2;
const leastShare = 0.15;
/** CUDA's own, graphs and activations, on each GPU. */
const runtimeGbPerGpu = 2;
/** Cache of one token in a model of a billion active parameters; it grows with their square root. */
const cacheKbPerToken = 45;

/** As the router draws them, by all parameters in billions. */
const smallUpToBillions = 25;
const mediumUpToBillions = 65;

/** Whether a model's weights, one request of the longest context and the runtime fit a machine's GPUs: an estimate. */
export function fitModel(wish: { model: string; maxContext: number | null }, type: Machine): Fit {
  const size = readModelSize(wish.model);
  const tier = tierOf(size);
  const neededGb = size && gbFor(size, wish.maxContext, type.gpus);
  const need = describeNeed(size, neededGb);
  const verdict = (fits: boolean, machine: string): Fit => ({ fits, arithmetic: `${need} ${machine}`, tier, neededGb });

  if (type.gpus === 0) return verdict(false, `and ${type.name} has no GPU`);
  // CUDA 13, with which both servers' images come, begins with the next generation.
  if (/\bV100\b/.test(type.gpuDescription)) return verdict(false, 'and the V100 is too old for the model servers');
  if (type.gpuMemoryGb === null) return verdict(true, 'of GPU memory that Lambda does not state');
  const haveGb = type.gpus * type.gpuMemoryGb;
  const gpus = type.gpus === 1 ? '' : ` (${type.gpus} x ${type.gpuMemoryGb} GB)`;
  return verdict(neededGb === null || neededGb <= haveGb, `of ${haveGb} GB${gpus}`);
}

function gbFor(size: ModelSize, maxContext: number | null, gpus: number): number {
  return weightsGb(size) + extraGb(size, maxContext, gpus);
}

function weightsGb(size: ModelSize): number {
  return size.billions * size.bytesPerParameter;
}

function extraGb(size: ModelSize, maxContext: number | null, gpus: number): number {
  const runtimeGb = runtimeGbPerGpu * Math.max(1, gpus);
  if (maxContext === null) return Math.max(runtimeGb, usualShare * weightsGb(size));
  const cacheGb = (maxContext * cacheKbPerToken * Math.sqrt(size.activeBillions)) / 1e6;
  return Math.max(runtimeGb + cacheGb, leastShare * weightsGb(size));
}

function describeNeed(size: ModelSize | null, neededGb: number | null): string {
  if (!size || neededGb === null) return "unknown weights (the model's name does not say its size)";
  return `${wholeGb(weightsGb(size))} GB weights + ${wholeGb(neededGb - weightsGb(size))} GB cache and runtime`;
}

function wholeGb(gb: number): number {
  return Math.max(1, Math.round(gb));
}

/** How much model its name says it is. */
export function tierOfModel(model: string): Tier {
  return tierOf(readModelSize(model));
}

function tierOf(size: ModelSize | null): Tier {
  if (!size) return 'medium';
  return size.billions <= smallUpToBillions ? 'small' : size.billions <= mediumUpToBillions ? 'medium' : 'large';
}
