import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { confirmed } from '../lambda/steps.ts';
import { JumpClock } from '../support/clock.ts';
import { startWorld, type World, type WorldOptions } from '../support/world.ts';

const tool = 'fleet_status';
const hourMs = 3_600_000;
const model = 'openai/gpt-oss-120b';

function openWorld(options: WorldOptions & { fleet?: string; start?: string } = {}): Promise<World> {
  const { fleet = '[]', start = '2026-11-23T09:00:00Z', ...rest } = options;
  return startWorld({
    clock: new JumpClock(start, 300),
    yaml: ({ configYaml }) =>
      configYaml.replace(
        /budgets: .*/,
        `budgets: {dailyUsd: 500, monthlyUsd: 5000, timeZone: Etc/UTC}\nfleet: ${fleet}`,
      ),
    ...rest,
  });
}

/** As it is when `isSo`; waits for that. */
async function statusWhen(world: World, isSo: (result: Record<string, any>) => boolean): Promise<Record<string, any>> {
  let { result } = await world.call(tool);
  await until(async () => {
    ({ result } = await world.call(tool));
    return isSo(result);
  }, 20_000);
  return result;
}

describe('fleet_status', () => {
  it('says so when there is nothing, apart from machines of others', async () => {
    const { result, text } = await (await openWorld()).call(tool);
    expect(result).toMatchObject({ schedules: [], deployments: [], hunts: [], notices: [] });
    expect(result.account).toEqual({
      instances: 1,
      orphans_adopted: [],
      not_ours: [expect.objectContaining({ name: 'sandbox-box', instance_type: 'gpu_1x_gh200' })],
      overdue: [],
      price_drift: [],
    });
    expect(text).toMatch(
      /^Schedules: none\.\n\nDeployments: none\.\n\nHunts for capacity: none\.\n\nKeeper: .*\n\nAccount: 1 machine\.\n- Not launched by Tandem: sandbox-box \([0-9a-f]+\)$/,
    );
  });

  it('shows a schedule whose window is closed: what it wants then, and when it opens', async () => {
    const fleet = `[{name: analysts, model: ${model}, types: [gpu_1x_gh200], count: 2, timeZone: America/New_York, windows: [{days: mon-fri, from: "09:00", to: "18:00"}]}]`;
    const { result, text } = await (await openWorld({ fleet, start: '2026-11-22T12:00:00Z' })).call(tool);
    expect(result.schedules).toMatchObject([
      { name: 'analysts', model, wanted: 0, ready: 0, next_change: 'opens 2026-11-23 14:00' },
    ]);
    expect(text).toMatch(
      /^Schedules, times in Etc\/UTC:\nname +model +machines +wanted now +ready +next change +launches at\n-.*\nanalysts +openai\/gpt-oss-120b +2 +0 +0 +opens 2026-11-23 14:00 +2026-11-23 13:45\n/,
    );
  });

  it('shows a window that is open: its deployments, their machines, and until when', async () => {
    const fleet = `[{name: night, model: ${model}, types: [gpu_1x_gh200], windows: [{days: daily, from: "08:00", to: "20:00"}]}]`;
    const world = await openWorld({ fleet });
    const result = await statusWhen(world, ({ schedules }) => schedules[0]?.ready === 1);
    expect(result.schedules).toMatchObject([
      { name: 'night', model, wanted: 1, ready: 1, next_change: 'closes 2026-11-23 20:00' },
    ]);
    expect(result.deployments).toMatchObject([
      {
        name: 'night',
        model,
        engine: 'vllm',
        state: 'ready',
        types: ['gpu_1x_gh200'],
        machines: 1,
        instance: expect.stringMatching(/^gpu_1x_gh200 in us-[a-z]+-\d, active$/),
        instance_id: expect.any(String),
        lease_ends_at: expect.stringMatching(/^2026-11-23 20:/),
        drains_at: '2026-11-23 20:00',
        scheduled: true,
      },
    ]);
    expect(result.hunts).toMatchObject([{ state: 'launched', deployment: result.deployments[0].name }]);
    expect(result.notices.map(({ kind }: { kind: string }) => kind)).toEqual(['capacity_found', 'ready']);
    expect(result.account).toMatchObject({ instances: 2, not_ours: [{ name: 'sandbox-box' }] });
  });

  it('says who keeps the fleet, and since when it was silent', async () => {
    const world = await openWorld();
    await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10' });
    const result = await statusWhen(world, ({ keeper }) => typeof keeper?.list_read_seconds_ago === 'number');
    expect(result.keeper).toMatchObject({
      command: 'sandbox',
      alive: true,
      process: expect.stringContaining(String(process.pid)),
    });
    expect((await world.call(tool)).text).toMatch(/Keeper: sandbox \(.*\), last beat \d+ s ago\.\n/);
  });

  it('says that nobody does, and what to do', async () => {
    const { result, text } = await (await openWorld()).call(tool);
    expect(result.keeper).toBeNull();
    expect(text).toContain(
      'Keeper: none. Nobody enforces leases now; one starts with the next lease, or run `tandem watch`.',
    );
  });

  it('shows a machine that bears our tags and that nobody recorded, as taken in', async () => {
    const world = await openWorld();
    world.sandbox.lambda.addInstance({
      name: 'lost',
      type: 'gpu_1x_a10',
      region: 'us-east-1',
      active: true,
      launchedAtMs: world.clock.nowMs() - hourMs,
      tags: [{ key: 'managed-by', value: 'tandem' }],
    });
    const result = await statusWhen(world, ({ account }) => account.orphans_adopted?.length === 1);
    expect(result.account.orphans_adopted).toMatchObject([{ name: 'lost' }]);
    expect(result.notices).toMatchObject([
      { kind: 'orphan_found', sent: false, text: expect.stringContaining('"lost"') },
    ]);
    expect((await world.call(tool)).text).toMatch(/- Orphans taken in: lost \(/);
  });

  it('shows what is known while Lambda Cloud does not answer, and why the rest is not', async () => {
    const world = await openWorld();
    const input = { types: ['gpu_8x_h100_sxm5'], until: '2026-11-24T12:00:00Z' };
    world.sandbox.lambda.applyFaults({ capacity: { gpu_8x_h100_sxm5: [] } });
    const { hunt_id: id } = (await confirmed(world, 'launch_instance', { wait_for_capacity: input })).result;
    world.sandbox.lambda.applyFaults({ apiDown: true });
    const { isError, result, text } = await world.call(tool);
    expect(isError).toBe(false);
    expect(result.hunts).toMatchObject([{ id, state: 'hunting' }]);
    expect(result.account).toEqual({ problem: expect.stringContaining('503') });
    expect(text).toMatch(/Account: could not be compared \(.*503.*\)\./);
  });

  it('shows what is known without a key of Lambda', async () => {
    const world = await openWorld({ environment: { LAMBDA_API_KEY: '' } });
    const { isError, result } = await world.call(tool);
    expect(isError).toBe(false);
    expect(result.account.problem).toBe('No Lambda Cloud key is configured.');
  });
});
