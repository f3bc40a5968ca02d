import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { gpu, hourMs, type Kept, type KeptApp, launchLine, minuteMs, model, startKept } from './kept.ts';

const listLine = 'GET /instances';

function listsSent(kept: Kept): number {
  return kept.lambda.requestLog.filter(({ method, path }) => `${method} ${path}` === listLine).length;
}

/** One machine that serves nothing. */
async function startWithMachine(input: Record<string, unknown> = {}): Promise<Kept> {
  const kept = await startKept();
  await kept.confirmed('launch_instance', { instance_type: 'gpu_1x_a10', name: 'box', ...input });
  return kept;
}

async function machineRow(kept: Kept) {
  const [row] = await kept.rows('instance');
  if (!row) throw new Error('no machine is in the ledger');
  return row;
}

describe('what the keeper lists', () => {
  it('shows a machine become active and go, although nobody asks', async () => {
    const kept = await startWithMachine();
    await kept.passUntil(async () => (await machineRow(kept)).status === 'active');
    const row = await machineRow(kept);
    expect(row.first_active_at_ms - row.requested_at_ms).toBeGreaterThanOrEqual(4 * minuteMs);
    await kept.confirmed('terminate_instance', { instances: ['box'] });
    await kept.passUntil(async () => (await machineRow(kept)).gone_at_ms !== null, 2 * minuteMs);
  });

  it('shows that a machine has become active within fifteen seconds', async () => {
    const kept = await startWithMachine();
    await kept.passUntil(async () => (await machineRow(kept)).status === 'active');
    const seenAtMs = (await machineRow(kept)).first_active_at_ms;
    expect(seenAtMs - (kept.ours()[0]?.activeAtMs ?? 0)).toBeLessThan(15_000);
  });

  it('is asked for about once a minute while nothing changes', async () => {
    const kept = await startWithMachine();
    await kept.passUntil(async () => (await machineRow(kept)).status === 'active');
    await kept.pass();
    const before = listsSent(kept);
    await kept.elapse(10 * minuteMs);
    expect(listsSent(kept) - before).toBeGreaterThanOrEqual(9);
    expect(listsSent(kept) - before).toBeLessThanOrEqual(11);
  });

  it('is asked for every ten minutes when nothing is left to follow', async () => {
    const kept = await startWithMachine();
    await kept.confirmed('terminate_instance', { instances: ['box'] });
    await kept.passUntil(async () => (await machineRow(kept)).gone_at_ms !== null);
    const before = listsSent(kept);
    await kept.elapse(hourMs);
    expect(listsSent(kept) - before).toBeGreaterThanOrEqual(5);
    expect(listsSent(kept) - before).toBeLessThanOrEqual(7);
    expect(await kept.app.keeper.hasWork()).toBe(false);
  });

  it('is asked for again after it could not be read', async () => {
    const kept = await startWithMachine();
    kept.faults({ nextResponses: [{ match: listLine, status: 403, body: 'html', times: 5 }] });
    await kept.passUntil(async () => (await machineRow(kept)).status === 'active');
  });
});

describe('an hour in which the API is down', () => {
  it('delays the end of a lease until it is back, and no longer', async () => {
    const kept = await startWithMachine({ lease_hours: 0.5 });
    await kept.elapse(10 * minuteMs);
    const backAtMs = kept.clock.nowMs() + hourMs;
    kept.faults({ apiDownUntilMs: backAtMs });
    await kept.elapse(hourMs - minuteMs, undefined, 20_000);
    expect(kept.alive()).toHaveLength(1);
    expect((await kept.noticed('lease_expired'))[0]).toContain('Lambda Cloud has not taken its termination');
    await kept.passUntil(() => kept.alive().length === 0, 5 * minuteMs);
    expect((kept.ours()[0]?.terminateRequestedAtMs ?? 0) - backAtMs).toBeLessThan(minuteMs);
    await kept.passUntil(async () => (await machineRow(kept)).gone_at_ms !== null);
    expect((await machineRow(kept)).end_reason).toBe('lease');
  });

  it('launches nothing twice: one whose answer was lost in it is found after it', async () => {
    const kept = await startKept();
    kept.faults({ capacity: { [gpu]: [] } });
    await kept.hunt({}, { name: 'analysts', serve: { model } });
    await kept.pass();
    const backAtMs = kept.clock.nowMs() + hourMs;
    kept.faults({
      capacity: { [gpu]: ['us-east-3'] },
      nextResponses: [{ match: launchLine, afterCommit: true, dropConnection: true }],
    });
    const passing = kept.elapse(minuteMs);
    while (kept.ours().length === 0) await new Promise((resolve) => setImmediate(resolve));
    kept.faults({ apiDownUntilMs: backAtMs });
    await passing;
    await kept.elapse(backAtMs - kept.clock.nowMs(), undefined, 20_000);
    await kept.passUntil(kept.stateIs('ready'));
    expect(kept.launchesSent()).toBe(1);
    expect(kept.ours()).toHaveLength(1);
    expect(await kept.deployment()).toMatchObject({ machines: 1 });
  });

  it('takes no server that answers for a broken one', async () => {
    const kept = await startKept();
    await kept.deployReady({ serve: { model, idle_minutes: null } });
    kept.faults({ apiDownUntilMs: kept.clock.nowMs() + hourMs });
    await kept.elapse(hourMs + minuteMs, undefined, 15_000);
    expect((await kept.deployment())?.state).toBe('ready');
    expect(kept.terminationsSent()).toBe(0);
  });
});

describe('a keeper that slept', () => {
  it('takes no machine for bad that has become active meanwhile', async () => {
    const kept = await startKept();
    await kept.deploy();
    await kept.elapse(minuteMs);
    kept.clock.jump(2 * hourMs);
    await kept.passUntil(kept.stateIs('ready'), 2 * minuteMs);
    expect(kept.ours()).toHaveLength(1);
  });

  it('takes no server for broken that has become ready meanwhile', async () => {
    const kept = await startKept();
    await kept.deploy();
    await kept.passUntil(kept.stateIs('starting'));
    await kept.close();
    kept.clock.jump(2 * hourMs);
    const next = await kept.openApp();
    await kept.passUntil(kept.stateIs('ready'), 2 * minuteMs, [next]);
    expect(kept.ours()).toHaveLength(1);
  });

  it('ends at once what should have ended while it did', async () => {
    const kept = await startWithMachine({ lease_hours: 1 });
    await kept.elapse(minuteMs);
    kept.clock.jump(10 * hourMs);
    await kept.passUntil(() => kept.alive().length === 0, 2 * minuteMs);
  });
});

describe('machines that no deployment has', () => {
  it('are ended: one that turned up after its launch was given up', async () => {
    const kept = await startKept();
    kept.faults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    await kept.deploy();
    const [row] = await kept.rows('instance');
    expect(row?.status).toBe('not_launched');
    const tags = [
      { key: 'tandem-intent', value: row?.intent_id },
      { key: 'tandem-deployment', value: row?.deployment_id },
    ];
    kept.lambda.addInstance({ name: 'analysts', type: gpu, active: true, tags });
    await kept.passUntil(() => kept.alive().length === 0, 15 * minuteMs);
    expect(await kept.noticed('orphan_found')).toHaveLength(1);
  });

  it('are ended: one whose termination was not sent before its keeper was killed', async () => {
    const kept = await startKept();
    await kept.deployReady();
    await kept.close();
    // What a keeper has written that died right after.
    const nowMs = kept.clock.nowMs();
    await kept.write((queries) =>
      queries.updateTable('instance').set({ terminate_requested_at_ms: nowMs, end_reason: 'bad_machine' }).execute(),
    );
    const next = await kept.openApp();
    await kept.passUntil(async () => kept.ours().length === 2 && (await kept.stateIs('ready')()), 30 * minuteMs, [
      next,
    ]);
    expect(kept.alive()).toHaveLength(1);
  });
});

describe('two keepers at once on one ledger', () => {
  async function startTwo(yaml = ''): Promise<{ kept: Kept; both: KeptApp[] }> {
    const kept = await startKept({ yaml, start: '2026-11-23T11:45:00Z' });
    // Each paces itself: what they are refused together is another matter.
    kept.faults({ pacing: { enabled: false } });
    return { kept, both: [kept, await kept.openApp()] };
  }

  it('launch one machine for each place in a window, and end each', async () => {
    const { kept, both } = await startTwo(
      `fleet:\n  - {name: analysts, count: 3, model: ${model}, types: [${gpu}], timeZone: Etc/UTC, windows: [{days: daily, from: "12:00", to: "12:20"}]}\n`,
    );
    const states = async () => (await kept.rows('deployment')).map(({ state }) => state).join();
    await kept.passUntil(async () => (await states()) === 'ready,ready,ready', 15 * minuteMs, both);
    await kept.elapse(Date.parse('2026-11-23T12:17:30Z') - kept.clock.nowMs(), both, 30_000);
    expect(kept.launchesSent()).toBe(3);
    await kept.elapse(150_000, both);
    expect(kept.alive()).toEqual([]);
    expect(kept.ours()).toHaveLength(3);
  });

  it('launch one machine for each hunt', async () => {
    const { kept, both } = await startTwo();
    kept.faults({ capacity: { [gpu]: [] } });
    await kept.hunt({}, { name: 'bare' });
    await kept.hunt({}, { name: 'analysts', serve: { model } });
    await kept.elapse(minuteMs, both);
    kept.faults({ capacity: { [gpu]: ['us-east-3'] }, refuseLaunches: 1 });
    await kept.elapse(20 * minuteMs, both);
    expect(
      kept
        .ours()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['analysts', 'bare']);
    expect(kept.launchesSent()).toBe(3);
    expect((await kept.deployment())?.state).toBe('ready');
    expect(await kept.noticed('capacity_found')).toHaveLength(2);
  });

  it('replace a bad machine once', async () => {
    const { kept, both } = await startTwo();
    kept.faults({ boot: { outcome: 'unhealthy' } });
    await kept.deploy();
    await kept.passUntil(kept.stateIs('ended'), 3 * hourMs, both);
    expect(await kept.deployment()).toMatchObject({ machines: 3, reason: 'bad_machine' });
    expect(kept.ours()).toHaveLength(3);
    expect(await kept.noticed('boot_failed')).toHaveLength(3);
    await kept.elapse(5 * minuteMs, both);
    expect(kept.alive()).toEqual([]);
  });
});

describe('a ledger that cannot be written', () => {
  it('keeps no machine running beyond its lease', async () => {
    const kept = await startWithMachine({ lease_hours: 1 });
    await kept.elapse(5 * minuteMs);
    await kept.close();
    // As a full disk answers: what is there can be read, and nothing is added.
    const refuse = (what: string) => sql.raw(`BEFORE ${what} BEGIN SELECT RAISE(ABORT, 'SQLITE_FULL'); END`);
    await kept.write(async (queries) => {
      await sql`CREATE TRIGGER full_keeper ${refuse('INSERT ON keeper')}`.execute(queries);
      await sql`CREATE TRIGGER full_instance ${refuse('UPDATE ON instance')}`.execute(queries);
      await sql`CREATE TRIGGER full_notice ${refuse('INSERT ON notice')}`.execute(queries);
    });
    kept.clock.jump(2 * hourMs);
    const next = await kept.openApp({ keep: true });
    await kept.until(() => kept.alive().length === 0);
    await next.close();
  });
});

describe('a keeper that was killed', () => {
  it('is followed after thirty seconds by another, which reaches the machines anew', async () => {
    const kept = await startKept();
    // The other one keeps at its own pace: hours may pass until the end of the test.
    await kept.deployReady({ lease_hours: 24, serve: { model, idle_minutes: null } });
    await kept.close();
    // As it leaves the ledger: with a last beat, and the end of a tunnel that is no longer there.
    const nowMs = kept.clock.nowMs();
    const dead = { owner: 'host:4711', command: 'watch' as const, since_ms: nowMs, beat_at_ms: nowMs };
    await kept.write(async (queries) => {
      await queries.deleteFrom('keeper').execute();
      await queries
        .insertInto('keeper')
        .values({ id: 1, ...dead, listed_at_ms: nowMs })
        .execute();
      await queries.updateTable('deployment').set({ base_url: 'http://127.0.0.1:9' }).execute();
    });
    const next = await kept.openApp({ keep: true });
    await kept.until(async () => (await kept.rows('keeper'))[0]?.owner !== dead.owner);
    const [keeper] = await kept.rows('keeper');
    expect(keeper?.since_ms - nowMs).toBeGreaterThan(30_000);
    expect(keeper?.since_ms - nowMs).toBeLessThan(45_000);
    await kept.until(
      async () => (await kept.deployment())?.base_url === kept.sandbox.machineUrl(kept.ours()[0]?.id ?? ''),
    );
    await kept.until(async () => {
      const answer = await next.call('complete', { prompt: 'Hello', backend: 'analysts' });
      return answer.result.backend === 'analysts';
    });
    expect(kept.ours()).toHaveLength(1);
  });

  it('gives its place back when there is nothing left to keep, so that nobody takes it for dead', async () => {
    const kept = await startKept();
    const keeping = await kept.openApp({ keep: true });
    await keeping.call('fleet_status');
    const plan = await keeping.call('launch_instance', { instance_type: gpu, lease_hours: 0.5 });
    await keeping.call('launch_instance', {
      instance_type: gpu,
      lease_hours: 0.5,
      confirm_token: plan.result.confirm_token,
    });
    await kept.until(async () => (await kept.rows('keeper')).length === 1);
    // It ends with its lease, and is gone.
    await kept.until(async () => (await kept.rows('instance'))[0]?.gone_at_ms !== null, 60_000);
    await kept.until(async () => (await kept.rows('keeper')).length === 0);
  });

  it('leaves alone the way that another has opened since, when it wakes and ends', async () => {
    const kept = await startKept();
    await kept.deployReady();
    const opened = 'http://127.0.0.1:9';
    await kept.write((queries) => queries.updateTable('deployment').set({ base_url: opened }).execute());
    await kept.close();
    expect(await kept.deployment()).toMatchObject({ state: 'ready', base_url: opened });
  });

  it('is not followed while it beats', async () => {
    const kept = await startKept();
    const beat = () => ({ owner: 'host:4711', command: 'watch' as const, beat_at_ms: kept.clock.nowMs() });
    await kept.write(async (queries) => {
      await queries
        .insertInto('keeper')
        .values({ id: 1, since_ms: 0, listed_at_ms: null, ...beat() })
        .execute();
    });
    await kept.confirmed('launch_instance', { instance_type: 'gpu_1x_a10', name: 'box' });
    const before = listsSent(kept);
    const next = await kept.openApp({ keep: true });
    for (let beats = 0; beats < 30; beats += 1) {
      await kept.write((queries) => queries.updateTable('keeper').set(beat()).execute());
      await kept.clock.sleep(5_000);
    }
    expect(listsSent(kept)).toBe(before);
    await next.close();
  });
});
