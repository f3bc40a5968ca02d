import { describe, expect, it } from 'vitest';
import { startWorld, type World } from '../support/world.ts';
import { until } from './cloud.ts';
import { confirmed } from './steps.ts';

const serve = { model: 'openai/gpt-oss-120b' };
const gpu = 'gpu_1x_gh200';

async function deploy(world: World, input: Record<string, unknown> = {}) {
  return confirmed(world, 'launch_instance', { instance_type: gpu, name: 'analysts', serve, ...input });
}

async function stateOf(world: World, name = 'analysts'): Promise<Record<string, any> | undefined> {
  const { result } = await world.call('fleet_status');
  return (result.deployments as Record<string, any>[]).find((deployment) => deployment.name === name);
}

describe('a deployment', () => {
  it('becomes a backend by itself, and serverless models answer until then', async () => {
    const world = await startWorld();
    const launched = await deploy(world);
    expect(launched.text).toContain('launching');
    const before = await world.call('complete', { prompt: 'Hello', backend: 'analysts' });
    expect(before.result.backend).toBe('sandbox-serverless');
    expect(before.text).toContain('"analysts" (gpt-oss-120b) is booting');
    await until(async () => (await stateOf(world))?.state === 'ready', 20_000);
    await until(async () => {
      const after = await world.call('complete', { prompt: 'Hello', backend: 'analysts' });
      return after.result.backend === 'analysts' && after.result.model === 'gpt-oss-120b';
    });
  });
});
