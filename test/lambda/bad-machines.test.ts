import { describe, expect, it } from 'vitest';
import { gpu, hourMs, type Kept, launchLine, minuteMs, startKept } from './kept.ts';

/** Until it is given up, with time for as many machines as that takes. */
async function untilGivenUp(kept: Kept): Promise<void> {
  await kept.passUntil(kept.stateIs('ended'), 6 * hourMs);
}

/** What is true of every deployment that was given up: three machines, one after the other, none of them left. */
async function requireGivenUp(kept: Kept, reason: string): Promise<void> {
  expect(await kept.deployment()).toMatchObject({ reason, machines: 3 });
  expect(kept.ours()).toHaveLength(3);
  await kept.elapse(5 * minuteMs);
  expect(kept.alive()).toEqual([]);
  expect(kept.keysOf()).toEqual([]);
  const told = await kept.noticed('boot_failed');
  expect(told).toHaveLength(3);
  expect(told.filter((text) => text.includes('nothing replaces it'))).toHaveLength(1);
}

describe('machines that are no good are returned and replaced, and then given up', () => {
  it.each([
    { how: 'come up unhealthy', faults: { boot: { outcome: 'unhealthy' } }, says: 'came up unhealthy' },
    { how: 'never become active', faults: { boot: { outcome: 'stuck' } }, says: 'not active after 25 min' },
    { how: 'are active and serve nothing', faults: { serving: { dead: true } }, says: 'did not answer for 30 min' },
    { how: 'have a GPU that cannot compute', faults: { cudaBroken: true }, says: 'did not answer for 30 min' },
    { how: 'die soon after they were ready', faults: { serving: { diesAfterMs: 5 * minuteMs } }, says: 'for 5 min' },
  ])('when they $how', async ({ faults, says }) => {
    const kept = await startKept();
    kept.faults(faults);
    await kept.deploy();
    await untilGivenUp(kept);
    await requireGivenUp(kept, 'bad_machine');
    expect((await kept.noticed('boot_failed'))[0]).toContain(says);
  });

  it('when they vanish', async () => {
    const kept = await startKept();
    await kept.deploy();
    for (let machines = 1; machines <= 3; machines += 1) {
      await kept.passUntil(kept.stateIs('ready'), hourMs);
      kept.lambda.vanish(kept.alive()[0]?.id ?? '');
      await kept.passUntil(async () => !(await kept.stateIs('ready')()), 5 * minuteMs);
    }
    await untilGivenUp(kept);
    await requireGivenUp(kept, 'gone');
  });

  it('when somebody else terminates them', async () => {
    const kept = await startKept();
    await kept.deploy();
    for (let machines = 1; machines <= 3; machines += 1) {
      await kept.passUntil(kept.stateIs('ready'), hourMs);
      kept.lambda.terminateByOther(kept.alive()[0]?.id ?? '');
      await kept.passUntil(async () => !(await kept.stateIs('ready')()), 5 * minuteMs);
    }
    await untilGivenUp(kept);
    await requireGivenUp(kept, 'gone');
  });

  it('as often as the configuration says', async () => {
    const kept = await startKept({ yaml: 'deployments: {maxReplacements: 0, bootMinutes: 10}\n' });
    kept.faults({ boot: { outcome: 'stuck' } });
    await kept.deploy();
    await kept.passUntil(kept.stateIs('ended'), 15 * minuteMs);
    expect(kept.ours()).toHaveLength(1);
    expect(await kept.noticed('boot_failed')).toEqual([
      'The machine of "analysts" is returned: it was not active after 10 min. It was the last of 1: nothing replaces it.',
    ]);
  });

  it('in the region that was asked for, and in no other', async () => {
    const kept = await startKept();
    kept.faults({ capacity: { [gpu]: ['us-east-1', 'us-west-1'] }, boot: { outcome: 'unhealthy' } });
    await kept.deploy({ region: 'us-west-1' });
    await kept.passUntil(() => kept.ours().length === 2, hourMs);
    expect(kept.ours().map(({ region }) => region)).toEqual(['us-west-1', 'us-west-1']);
  });

  it('and a good one after a bad one is a backend', async () => {
    const kept = await startKept();
    kept.faults({ boot: { outcome: 'unhealthy' } });
    await kept.deploy();
    await kept.passUntil(() => kept.ours().some(({ status }) => status === 'terminating'));
    kept.faults({ boot: { outcome: 'active' } });
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.ours()).toHaveLength(2);
    expect((await kept.ask()).result.backend).toBe('analysts');
  });
});

describe('a launch of a deployment', () => {
  it('whose answer is lost is the one machine, found by its tag', async () => {
    const kept = await startKept();
    kept.faults({
      nextResponses: [{ match: launchLine, afterCommit: true, dropConnection: true }],
    });
    await kept.deploy();
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.ours()).toHaveLength(1);
    expect(kept.launchesSent()).toBe(1);
  });

  it('whose answer is lost, and that no machine came of, ends its deployment with the call', async () => {
    const kept = await startKept();
    kept.faults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    expect((await kept.deploy()).text).toContain('no machine turned up within five minutes');
    expect((await kept.deployment())?.state).toBe('ended');
    await kept.elapse(5 * minuteMs);
    expect(kept.launchesSent()).toBe(1);
    expect(kept.keysOf()).toEqual([]);
  });

  it('whose answer nobody waited for any more, and that no machine came of, is made again', async () => {
    const kept = await startKept();
    const next = await kept.reopenWhileLaunching();
    await kept.passUntil(kept.stateIs('ready'), 30 * minuteMs, [next]);
    expect(await kept.deployment()).toMatchObject({ machines: 1 });
    expect(kept.ours()).toHaveLength(1);
    expect(kept.keysOf()).toHaveLength(1);
  });

  it('is counted at the price that the cloud asks, and that is told, when it changed after the last look', async () => {
    const kept = await startKept();
    const before = kept.sandbox.lambda.faults;
    expect(before.priceCentsPerHour).toEqual({});
    kept.faults({ nextResponses: [{ match: launchLine, delayMs: 2 * minuteMs }] });
    const launching = kept.deploy();
    await kept.clock.sleep(minuteMs);
    kept.faults({ priceCentsPerHour: { [gpu]: 999 } });
    await launching;
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.ours()).toMatchObject([{ priceCentsPerHour: 999 }]);
    expect(await kept.rows('instance')).toMatchObject([{ price_cents_per_hour: 999 }]);
    expect(await kept.noticed('price_changed')).toHaveLength(1);
  });
});

describe('a termination', () => {
  it.each([
    { how: 'was ignored once', faults: { terminate: { ignoreTimes: 1 } } },
    { how: 'is missing from the answer', faults: { terminate: { omitFromAnswerTimes: 1 } } },
    { how: 'was ignored for longer than one call asks', faults: { terminate: { ignoreTimes: 5 } } },
  ])('that $how ends the machine of a bad deployment all the same, before the next one', async ({ faults }) => {
    const kept = await startKept();
    kept.faults({ ...faults, boot: { outcome: 'unhealthy' } });
    await kept.deploy();
    await untilGivenUp(kept);
    await requireGivenUp(kept, 'bad_machine');
  });

  it('that was ignored for long does not keep a deployment from its end', async () => {
    const kept = await startKept();
    await kept.deployReady();
    kept.faults({ terminate: { ignoreTimes: 7 } });
    await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    await kept.passUntil(kept.stateIs('ended'));
    expect(kept.alive()).toEqual([]);
  });
});
