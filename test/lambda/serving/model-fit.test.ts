import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { instanceTypesSchema } from '../../../src/lambda/schema.ts';
import { fitModel } from '../../../src/lambda/serving/model-fit.ts';
import { readModelSize } from '../../../src/lambda/serving/model-size.ts';

const snapshot = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../../data/lambda-instance-types-2026-09.json'), 'utf8'),
);
const types = instanceTypesSchema.parse(
  Object.fromEntries(
    Object.entries<object>(snapshot.types).map(([name, entry]) => [
      name,
      { ...entry, regions_with_capacity_available: [] },
    ]),
  ),
);
const typeNamed = (name: string) => types.find((type) => type.name === name)!;
const fitOf = (model: string, type: string, maxContext: number | null = null) =>
  fitModel({ model, maxContext }, typeNamed(type));

describe('the size of a model', () => {
  it.each([
    ['meta-llama/Llama-3.1-8B-Instruct', 8, 2],
    ['Qwen/Qwen2.5-0.5B-Instruct', 0.5, 2],
    ['HuggingFaceTB/SmolLM2-135M-Instruct', 0.135, 2],
    ['Qwen/Qwen3-32B-FP8', 32, 1],
    ['Qwen/Qwen2.5-14B-Instruct-1M', 14, 2],
    ['Qwen/Qwen2.5-32B-Instruct-AWQ', 32, 0.55],
    ['Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4', 72, 0.55],
    ['Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8', 72, 1],
    ['unsloth/Llama-3.3-70B-Instruct-bnb-4bit', 70, 0.55],
    ['RedHatAI/Llama-3.3-70B-Instruct-quantized.w8a8', 70, 1],
    ['nvidia/Llama-3.1-8B-Instruct-NVFP4', 8, 0.55],
    ['deepseek-ai/DeepSeek-R1-Distill-Llama-70B', 70, 2],
    ['deepseek-ai/DeepSeek-R1', 685, 1],
    ['microsoft/phi-4', 14.7, 2],
    ['unsloth/gpt-oss-20b-BF16', 21, 2],
    ['google/gemma-2b-it', 2, 2],
  ])('is read from %s', (model, billions, bytesPerParameter) => {
    expect(readModelSize(model)).toMatchObject({ billions, bytesPerParameter });
  });

  it.each([
    ['Qwen/Qwen3-30B-A3B', 30, 3],
    ['Qwen/Qwen3-235B-A22B-FP8', 235, 22],
    ['mistralai/Mixtral-8x7B-Instruct-v0.1', 46.7, 12.9],
    ['someone/Merged-4x7B', 28, 28],
    ['openai/gpt-oss-120b', 117, 5.1],
    ['meta-llama/Llama-4-Scout-17B-16E-Instruct', 109, 17],
  ])('of a mixture of experts is read from %s', (model, billions, activeBillions) => {
    expect(readModelSize(model)).toMatchObject({ billions, activeBillions });
  });

  it.each(['acme/secret-sauce', 'acme/tiny-4bit', 'acme/model-v2', ''])('is not guessed for "%s"', (model) => {
    expect(readModelSize(model)).toBeNull();
  });
});

describe('whether a model fits a machine', () => {
  it.each([
    ['meta-llama/Llama-3.1-8B-Instruct', 'gpu_1x_a10', true],
    ['Qwen/Qwen3-14B', 'gpu_1x_a10', false],
    ['Qwen/Qwen3-14B', 'gpu_1x_a100', true],
    ['Qwen/Qwen2.5-32B-Instruct-AWQ', 'gpu_1x_a100', true],
    ['Qwen/Qwen2.5-32B-Instruct', 'gpu_1x_a100', false],
    ['Qwen/Qwen2.5-32B-Instruct-AWQ', 'gpu_1x_a6000', true],
    ['Qwen/Qwen3-32B', 'gpu_1x_h100_sxm5', true],
    ['openai/gpt-oss-120b', 'gpu_1x_h100_sxm5', true],
    ['openai/gpt-oss-120b', 'gpu_1x_gh200', true],
    ['openai/gpt-oss-120b', 'gpu_1x_a6000', false],
    ['openai/gpt-oss-20b', 'gpu_1x_a10', true],
    ['meta-llama/Llama-3.3-70B-Instruct', 'gpu_1x_h100_sxm5', false],
    ['meta-llama/Llama-3.3-70B-Instruct', 'gpu_1x_b200_sxm6', true],
    ['meta-llama/Llama-3.3-70B-Instruct', 'gpu_8x_a100_80gb_sxm4', true],
    ['Qwen/Qwen3-235B-A22B-FP8', 'gpu_8x_h100_sxm5', true],
    ['deepseek-ai/DeepSeek-R1', 'gpu_8x_h100_sxm5', false],
  ])('%s on %s: %s', (model, type, fits) => {
    expect(fitOf(model, type).fits).toBe(fits);
  });

  it('says the arithmetic in one sentence', () => {
    expect(fitOf('openai/gpt-oss-120b', 'gpu_1x_gh200').arithmetic).toBe(
      '61 GB weights + 12 GB cache and runtime of 96 GB',
    );
  });

  it('counts the GPUs of a bigger machine together', () => {
    expect(fitOf('meta-llama/Llama-3.3-70B-Instruct', 'gpu_2x_h100_sxm5').arithmetic).toBe(
      '140 GB weights + 28 GB cache and runtime of 160 GB (2 x 80 GB)',
    );
  });

  it('needs more for a long context', () => {
    const model = 'meta-llama/Llama-3.1-8B-Instruct';
    expect(fitOf(model, 'gpu_1x_a10', 16_384).fits).toBe(true);
    expect(fitOf(model, 'gpu_1x_a10', 131_072).fits).toBe(false);
    expect(fitOf(model, 'gpu_1x_a100', 131_072).fits).toBe(true);
  });

  it('says so when the size is unknown, and does not stand in the way', () => {
    const unknown = fitOf('acme/secret-sauce', 'gpu_1x_a10');
    expect(unknown).toMatchObject({ fits: true, neededGb: null, tier: 'medium' });
    expect(unknown.arithmetic).toBe("unknown weights (the model's name does not say its size) of 24 GB");
  });

  it('says so when the memory is unknown', () => {
    const type = { ...typeNamed('gpu_1x_a10'), gpuMemoryGb: null };
    expect(fitModel({ model: 'Qwen/Qwen3-14B', maxContext: null }, type)).toMatchObject({
      fits: true,
      arithmetic: '28 GB weights + 6 GB cache and runtime of GPU memory that Lambda does not state',
    });
  });

  it('puts nothing on a machine without a GPU, or with one that the servers have left behind', () => {
    expect(fitOf('Qwen/Qwen2.5-0.5B-Instruct', 'cpu_4x_general')).toMatchObject({ fits: false });
    expect(fitOf('Qwen/Qwen2.5-0.5B-Instruct', 'gpu_8x_v100').arithmetic).toMatch(/V100 is too old/);
  });

  it.each([
    ['meta-llama/Llama-3.1-8B-Instruct', 'small'],
    ['Qwen/Qwen3-32B', 'medium'],
    ['openai/gpt-oss-120b', 'large'],
  ])('places %s in tier %s for the router', (model, tier) => {
    expect(fitOf(model, 'gpu_1x_gh200').tier).toBe(tier);
  });
});
