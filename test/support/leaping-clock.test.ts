import { expect, it } from 'vitest';
import { LeapingClock } from './leaping-clock.ts';

it('lets hours pass at once, and ends sleeps in their order', async () => {
  const clock = new LeapingClock('2026-11-23T09:00:00Z');
  const ended: string[] = [];
  const startedAt = performance.now();
  const every = async (name: string, ms: number, times: number) => {
    for (let time = 1; time <= times; time += 1) {
      await clock.sleep(ms);
      ended.push(`${name}${time}`);
    }
  };
  await Promise.all([every('slow', 3_600_000, 2), every('quick', 1_500_000, 4)]);
  expect(ended).toEqual(['quick1', 'quick2', 'slow1', 'quick3', 'quick4', 'slow2']);
  expect(clock.nowMs()).toBe(Date.parse('2026-11-23T11:00:00Z'));
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

it('honours an abort, and stands still while nobody sleeps', async () => {
  const clock = new LeapingClock('2026-11-23T09:00:00Z');
  const stop = new AbortController();
  const sleep = clock.sleep(1_000, stop.signal);
  stop.abort(new Error('enough'));
  await expect(sleep).rejects.toThrow('enough');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(clock.nowMs()).toBe(Date.parse('2026-11-23T09:00:00Z'));
  clock.jump(-60_000);
  expect(clock.nowMs()).toBe(Date.parse('2026-11-23T08:59:00Z'));
});
