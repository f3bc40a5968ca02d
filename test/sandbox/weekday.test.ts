import { describe, expect, it } from 'vitest';
import { acceleratedClock } from '../../src/clock.ts';
import { scenarios } from '../../src/sandbox/scenarios.ts';
import { until } from '../lambda/cloud.ts';
import { startWorld, type World } from '../support/world.ts';

const startsAtMs = Date.parse(scenarios.weekday.startsAt);

async function startWeekday(speed = 500) {
  const clock = acceleratedClock(speed, startsAtMs);
  const world = await startWorld({ clock, scenario: 'weekday' });
  const skipTo = (time: string) =>
    clock.advance(Math.max(0, Date.parse(`2026-09-14T${time}:00-04:00`) - clock.nowMs()));
  return { ...world, skipTo };
}

async function statesOf({ call }: Pick<World, 'call'>): Promise<string[]> {
  const { result } = await call('fleet_status');
  return (result.deployments as { state: string }[]).map(({ state }) => state).filter((state) => state !== 'ended');
}

describe('the scenario weekday', () => {
  it('begins on a Monday morning in New York, with a schedule and no machine', async () => {
    expect(new Date(startsAtMs).getUTCDay()).toBe(1);
    const { call } = await startWeekday(1);
    const { result, text } = await call('fleet_status');
    expect(result.schedules).toEqual([
      {
        ...{ name: 'analysts', model: 'openai/gpt-oss-120b', machines: 2, wanted: 0, ready: 0 },
        ...{ next_change: 'opens 2026-09-14 09:00', launches_at: '2026-09-14 08:45' },
        times_in: 'America/New_York',
      },
    ]);
    expect(text).toContain('no machines, as in the ledger');
  });

  it('has its machines in the window, and none after it; nobody is warned of leases that the window ends', async () => {
    const world = await startWeekday();
    const { sandbox, skipTo } = world;
    skipTo('08:47');
    await until(async () => (await statesOf(world)).join() === 'ready,ready', 20_000);
    skipTo('17:57');
    await until(async () => (await statesOf(world)).length === 0, 20_000);
    expect(sandbox.lambda.instances().map(({ status }) => status)).toEqual(['terminated', 'terminated']);
    const kinds = () =>
      sandbox.notices.map(({ body }) => (body as { metadata: any }).metadata.event_payload.kind as string);
    await until(async () => kinds().filter((kind) => kind === 'ready').length === 2);
    expect(kinds()).not.toContain('lease_80');
  });

  it('bills what Tandem counts', async () => {
    const world = await startWeekday();
    const { sandbox, call, skipTo } = world;
    skipTo('08:47');
    await until(async () => (await statesOf(world)).join() === 'ready,ready', 20_000);
    skipTo('17:57');
    await until(async () => (await statesOf(world)).length === 0, 20_000);
    const { result } = await call('cost_report', { period: 'today' });
    for (const { id, minutes } of result.gpu.instances as { id: string; minutes: number }[]) {
      const billed = sandbox.lambda.bill().instances.find((line) => line.id === id);
      // Time runs 500 times as fast here: between the two counts pass hundredths of a second, which are many.
      expect(Math.abs(minutes - (billed?.minutes ?? Number.NaN))).toBeLessThanOrEqual(2);
      expect(minutes).toBeGreaterThan(500);
    }
  });

  it('stays as it is after a reset', async () => {
    const { sandbox } = await startWeekday();
    await fetch(`${sandbox.controlUrl}/reset`, { method: 'POST' });
    expect(sandbox.lambda.faults).toMatchObject({ shape: { firstHealthy: true }, terminate: { durationMs: 0 } });
  });
});
