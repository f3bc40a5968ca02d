import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { confirmed, countSent, launchLine, terminateLine } from '../lambda/steps.ts';
import { startWorld, type World } from '../support/world.ts';

const tool = 'terminate_instance';
const deployment = { instance_type: 'gpu_1x_gh200', name: 'analysts', serve: { model: 'openai/gpt-oss-120b' } };

async function stateOf(world: World): Promise<Record<string, any> | undefined> {
  const { result } = await world.call('fleet_status');
  return (result.deployments as Record<string, any>[]).find(({ name }) => name === 'analysts');
}

describe('terminate_instance on a deployment', () => {
  it('ends it by its name, takes it out of the router, and nothing replaces it', async () => {
    const world = await startWorld();
    await confirmed(world, 'launch_instance', deployment);
    await until(async () => (await stateOf(world))?.state === 'ready', 20_000);
    const { result } = await confirmed(world, tool, { instances: ['analysts'] });
    expect(result).toMatchObject({ instances: [{ name: 'analysts' }] });
    expect(['terminating', 'terminated']).toContain(result.status);
    await until(async () => (await stateOf(world))?.state === 'ended', 20_000);
    expect(await stateOf(world)).toMatchObject({ reason: 'asked', machines: 1 });
    await until(async () => (await world.call('complete', { prompt: 'Hello', backend: 'analysts' })).isError);
    expect(countSent(world, launchLine)).toBe(1);
    expect(countSent(world, terminateLine)).toBe(1);
    expect((await world.call('list_gpu_instances')).result.hunts).toBeUndefined();
  });

  it('ends one that is still booting', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ boot: { outcome: 'stuck' } });
    const { instance_id: id } = (await confirmed(world, 'launch_instance', deployment)).result;
    await confirmed(world, tool, { instances: [id] });
    await until(async () => (await stateOf(world))?.state === 'ended', 20_000);
    expect(await stateOf(world)).toMatchObject({ reason: 'asked', machines: 1 });
    expect(countSent(world, launchLine)).toBe(1);
  });

  it('changes nothing without a yes', async () => {
    const world = await startWorld();
    await confirmed(world, 'launch_instance', deployment);
    const { result } = await world.call(tool, { instances: ['analysts'] });
    expect(result).toMatchObject({ status: 'confirm_required', note: 'Nothing was terminated yet.' });
    expect(['booting', 'starting', 'ready']).toContain((await stateOf(world))?.state);
    expect(countSent(world, terminateLine)).toBe(0);
  });

  it('ends a machine and a hunt in one call', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ capacity: { gpu_8x_h100_sxm5: [] }, boot: { durationMs: 0 } });
    const soon = new Date(world.clock.nowMs() + 3_600_000).toISOString();
    await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'trainer' });
    const wait = { types: ['gpu_1x_gh200'], regions: ['nowhere-1'], until: soon };
    const hunt = await confirmed(world, 'launch_instance', { wait_for_capacity: wait });
    const { result } = await confirmed(world, tool, { instances: ['trainer', hunt.result.hunt_id] });
    expect(result.instances).toMatchObject([
      { id: hunt.result.hunt_id, status: 'cancelled' },
      { name: 'trainer', status: expect.stringMatching(/^terminat/) },
    ]);
    expect(countSent(world, terminateLine)).toBe(1);
  });
});
