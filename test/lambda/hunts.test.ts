import { describe, expect, it } from 'vitest';
import { gpu, hourMs, type Kept, launchLine, minuteMs, model, startKept } from './kept.ts';

const serve = { serve: { model } };
/** A bare machine, and one for a deployment. */
const kinds: { name?: string }[] = [{}, { name: 'analysts', ...serve }];
const typesLine = 'GET /instance-types';

async function stateOf(kept: Kept): Promise<string> {
  return (await kept.rows('hunt')).at(-1)?.state;
}

function hasState(kept: Kept, state: string) {
  return async () => (await stateOf(kept)) === state;
}

/** Hunts, with the capacity that there is until it is looked for. */
async function startHunting(wait: Record<string, unknown> = {}, input: Record<string, unknown> = {}) {
  const kept = await startKept();
  kept.faults({ capacity: { [gpu]: [] } });
  await kept.hunt(wait, input);
  await kept.pass();
  return kept;
}

describe('a hunt', () => {
  it('launches once there is capacity, and says so', async () => {
    const kept = await startHunting();
    await kept.elapse(10 * minuteMs);
    expect(kept.ours()).toEqual([]);
    kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
    await kept.passUntil(hasState(kept, 'launched'), minuteMs);
    await kept.elapse(10 * minuteMs);
    expect(kept.ours()).toMatchObject([{ name: 'found', type: gpu, region: 'us-east-3' }]);
    expect(await kept.noticed('capacity_found')).toEqual([`Found and launched ${gpu} in us-east-3 as "found".`]);
  });

  it('finds capacity that comes at its time', async () => {
    const kept = await startKept();
    kept.faults({ soldOutUntilMs: { [gpu]: kept.clock.nowMs() + hourMs } });
    await kept.hunt();
    await kept.passUntil(hasState(kept, 'launched'), 2 * hourMs);
    const waitedMs = (kept.ours()[0]?.launchedAtMs ?? 0) - Date.parse('2026-11-23T10:00:00Z');
    expect(waitedMs).toBeGreaterThanOrEqual(0);
    expect(waitedMs).toBeLessThan(minuteMs);
  });

  it('takes the first of its types that has capacity, where it may be', async () => {
    const kept = await startKept();
    kept.faults({ capacity: { [gpu]: ['us-west-1'], gpu_1x_h100_sxm5: ['us-east-1', 'us-east-3'] } });
    await kept.hunt({ types: [gpu, 'gpu_1x_h100_sxm5'], regions: ['us-east-3'] });
    await kept.passUntil(hasState(kept, 'launched'), minuteMs);
    expect(kept.ours()).toMatchObject([{ type: 'gpu_1x_h100_sxm5', region: 'us-east-3' }]);
  });

  it.each([0, 1, 4])('goes on when launches are refused although capacity is listed, %i times', async (times) => {
    const kept = await startHunting();
    kept.faults({ capacity: { [gpu]: ['us-east-3'] }, refuseLaunches: times });
    await kept.passUntil(hasState(kept, 'launched'));
    expect(kept.launchesSent()).toBe(times + 1);
    expect(kept.ours()).toHaveLength(1);
  });

  it.each([0, 1, 4])('brings a deployment its first machine, also when %i launches are refused', async (times) => {
    const kept = await startHunting({}, { name: 'analysts', ...serve });
    kept.faults({ capacity: { [gpu]: ['us-east-3'] }, refuseLaunches: times });
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.launchesSent()).toBe(times + 1);
    expect(await kept.deployment()).toMatchObject({ machines: 1 });
    expect(await kept.rows('hunt')).toHaveLength(1);
    expect(kept.keysOf()).toHaveLength(1);
  });

  it.each([
    { how: 'the answer was lost', answer: { dropConnection: true } },
    { how: 'a 429 came after it was made', answer: { status: 429, body: 'empty' } },
    { how: 'a 5xx came after it was made', answer: { status: 503, body: 'html' } },
  ])('launches exactly once although $how', async ({ answer }) => {
    for (const input of kinds) {
      const kept = await startHunting({}, input);
      kept.faults({
        capacity: { [gpu]: ['us-east-3'] },
        nextResponses: [{ match: launchLine, afterCommit: true, ...answer }],
      });
      await kept.passUntil(hasState(kept, 'launched'));
      await kept.elapse(10 * minuteMs);
      expect(kept.launchesSent()).toBe(1);
      expect(kept.ours()).toHaveLength(1);
    }
  });

  it('tries again when a launch without answer has come to nothing', async () => {
    for (const input of kinds) {
      const kept = await startHunting({}, input);
      kept.faults({ capacity: { [gpu]: ['us-east-3'] }, nextResponses: [{ match: launchLine, dropConnection: true }] });
      await kept.passUntil(hasState(kept, 'launched'), hourMs);
      expect(kept.launchesSent()).toBe(2);
      expect(kept.ours()).toHaveLength(1);
    }
  });

  it('gives up when its time is over, and says why', async () => {
    for (const input of kinds) {
      const kept = await startHunting({}, input);
      await kept.elapse(6 * hourMs, undefined, 30_000);
      await kept.elapse(minuteMs);
      expect(await stateOf(kept)).toBe('gave_up');
      const [told, ...more] = await kept.noticed('capacity_given_up');
      expect(told).toContain(`(${gpu}); the time for it is over. Last: ${gpu} has no capacity.`);
      expect(more).toEqual([]);
      kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
      await kept.elapse(10 * minuteMs);
      expect(kept.launchesSent()).toBe(0);
      if (input.name) expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'no_capacity' });
    }
  });

  it('takes nothing above its price', async () => {
    const kept = await startHunting({ max_hourly_usd: 3 });
    kept.faults({ capacity: { [gpu]: ['us-east-3'] }, priceCentsPerHour: { [gpu]: 301 } });
    await kept.elapse(10 * minuteMs);
    expect(kept.launchesSent()).toBe(0);
    expect((await kept.rows('hunt'))[0]?.problem).toBe(`${gpu} costs $3.01 an hour, above the limit of $3.00.`);
    kept.faults({ priceCentsPerHour: { [gpu]: 300 } });
    await kept.passUntil(hasState(kept, 'launched'), minuteMs);
  });

  it('takes nothing whose price goes above it in the moment before the launch', async () => {
    for (const input of kinds) {
      const kept = await startHunting({ max_hourly_usd: 3 }, input);
      const { requestLog } = kept.lambda;
      kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
      // It looks twice at the types: for capacity, and right before the launch.
      const looksBefore = requestLog.filter(({ path }) => path === '/instance-types').length;
      const rising = (async () => {
        while (requestLog.filter(({ path }) => path === '/instance-types').length <= looksBefore)
          await new Promise((resolve) => setImmediate(resolve));
        kept.faults({ priceCentsPerHour: { [gpu]: 900 } });
      })();
      await kept.elapse(2 * minuteMs);
      await rising;
      expect(kept.launchesSent()).toBe(0);
      expect(kept.ours()).toEqual([]);
    }
  });

  it('survives a restart', async () => {
    const kept = await startHunting({}, { name: 'analysts', ...serve });
    await kept.close();
    const second = await kept.openApp();
    kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
    await kept.passUntil(kept.stateIs('ready'), undefined, [second]);
    expect(kept.launchesSent()).toBe(1);
  });

  it('survives a restart in the middle of its launch', async () => {
    for (const input of kinds) {
      const kept = await startHunting({}, input);
      kept.faults({
        capacity: { [gpu]: ['us-east-3'] },
        nextResponses: [{ match: launchLine, afterCommit: true, delayMs: hourMs }],
      });
      const passing = (async () => {
        while (kept.launchesSent() === 0) {
          await kept.pass();
          await kept.clock.sleep(5_000);
        }
      })().catch(() => undefined);
      while (kept.ours().length === 0) await new Promise((resolve) => setImmediate(resolve));
      await kept.close();
      await passing;
      const second = await kept.openApp();
      await kept.passUntil(hasState(kept, 'launched'), undefined, [second]);
      await kept.elapse(10 * minuteMs, [second]);
      expect(kept.launchesSent()).toBe(1);
      expect(kept.ours()).toHaveLength(1);
    }
  });

  it('is cancelled by its id, or by the name of the deployment that it is for', async () => {
    for (const input of kinds) {
      const kept = await startHunting({}, input);
      const id = input.name ?? (await kept.rows('hunt'))[0]?.id;
      const { result } = await kept.confirmed('terminate_instance', { instances: [id] });
      expect(result.status).toBe('cancelled');
      kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
      await kept.elapse(5 * minuteMs);
      expect(await stateOf(kept)).toBe('cancelled');
      expect(kept.launchesSent()).toBe(0);
      if (input.name) expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'asked' });
    }
  });

  it('that waits for money goes on when there is some', async () => {
    const kept = await startHunting();
    kept.faults({ capacity: { [gpu]: ['us-east-3'] }, quotaInstances: 1 });
    await kept.elapse(5 * minuteMs);
    expect(await stateOf(kept)).toBe('hunting');
    kept.faults({ quotaInstances: null });
    await kept.passUntil(hasState(kept, 'launched'), 2 * minuteMs);
    expect(kept.ours()).toHaveLength(1);
  });

  it('asks two to four times a minute, at irregular times', async () => {
    const kept = await startHunting();
    const before = kept.lambda.requestLog.length;
    await kept.elapse(hourMs);
    const asked = kept.lambda.requestLog.slice(before).filter(({ method, path }) => `${method} ${path}` === typesLine);
    expect(asked.length / 60).toBeGreaterThan(2);
    expect(asked.length / 60).toBeLessThan(4);
    const gaps = asked.slice(1).map(({ atMs }, index) => Math.round((atMs - (asked[index]?.atMs ?? 0)) / 1_000));
    expect(new Set(gaps).size).toBeGreaterThan(1);
  });

  it('shares its questions with the others: many hunts ask no more than twelve times a minute', async () => {
    const kept = await startHunting();
    for (let more = 2; more <= 6; more += 1) await kept.hunt({}, { name: `found-${more}` });
    const before = kept.lambda.requestLog.length;
    await kept.elapse(10 * minuteMs);
    expect((kept.lambda.requestLog.length - before) / 10).toBeLessThanOrEqual(12);
  });

  it('goes on after the clock was put forward for a moment', async () => {
    const kept = await startHunting();
    // The cloud's clock does not jump with ours, and its limits with it.
    kept.faults({ pacing: { enabled: false } });
    kept.clock.jump(5 * hourMs);
    await kept.pass();
    kept.clock.jump(-5 * hourMs);
    kept.faults({ capacity: { [gpu]: ['us-east-3'] } });
    await kept.passUntil(hasState(kept, 'launched'), 2 * minuteMs);
  });
});
