import { describe, expect, it } from 'vitest';
import { instanceCost } from '../../src/usage/instance-cost.ts';
import { type Kept, minuteMs, model, startKept } from './kept.ts';

const idleServe = { model, idle_minutes: 10 };

async function statesSeen(kept: Kept, until: string): Promise<string[]> {
  const seen: string[] = [];
  await kept.passUntil(async () => {
    const { result } = await kept.call('fleet_status');
    const { state } = result.deployments[0];
    if (seen.at(-1) !== state) seen.push(state);
    return state === until;
  });
  return seen;
}

describe('the life of a deployment', () => {
  it('goes from booting to ready, and when it is idle to its end, by the names that fleet_status gives', async () => {
    const kept = await startKept();
    await kept.deploy({ serve: idleServe });
    expect(await statesSeen(kept, 'ended')).toEqual(['booting', 'starting', 'ready', 'draining', 'ending', 'ended']);
    expect(await kept.deployment()).toMatchObject({ reason: 'idle', machines: 1 });
    expect(kept.alive()).toEqual([]);
    expect(await kept.noticed('ready')).toHaveLength(1);
    expect(await kept.noticed('idle_stop')).toHaveLength(1);
  });

  it('is a backend from the moment it is ready until it drains', async () => {
    const kept = await startKept();
    await kept.deployReady({ serve: idleServe });
    expect((await kept.ask()).result).toMatchObject({ backend: 'analysts', model: 'gpt-oss-120b' });
    await kept.passUntil(kept.stateIs('draining'));
    expect((await kept.ask()).isError).toBe(true);
  });

  it('is not ended for want of work while it works', async () => {
    const kept = await startKept();
    await kept.deployReady({ serve: idleServe });
    for (let asked = 0; asked < 4; asked += 1) {
      await kept.elapse(5 * minuteMs, undefined, 15_000);
      await kept.ask();
    }
    expect((await kept.deployment())?.state).toBe('ready');
  });

  it('costs what the cloud bills, within a minute, and at most what the ledger says that it may', async () => {
    const kept = await startKept();
    await kept.deployReady();
    await kept.elapse(20 * minuteMs);
    await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    await kept.passUntil(kept.stateIs('ended'));
    const [row] = await kept.rows('instance');
    const [machine] = kept.ours();
    const billed = kept.lambda.bill().instances.find(({ id }) => id === machine?.id);
    const counted = instanceCost(row as Parameters<typeof instanceCost>[0], 0, kept.clock.nowMs(), kept.clock.nowMs());
    expect(Math.abs(counted.minutes - (billed?.minutes ?? 0))).toBeLessThanOrEqual(1);
    expect(counted.upperNanoUsd / 1e7).toBeGreaterThanOrEqual(billed?.cents ?? Number.POSITIVE_INFINITY);
  });

  it('leaves no keys behind', async () => {
    const kept = await startKept();
    await kept.deployReady();
    expect(kept.keysOf()).toHaveLength(1);
    await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    await kept.passUntil(kept.stateIs('ended'));
    expect(kept.keysOf()).toEqual([]);
  });

  it('drains before its lease ends, and is gone when it does', async () => {
    const kept = await startKept();
    await kept.deployReady({ lease_hours: 0.5 });
    const [{ lease_expires_at_ms: expiresAtMs } = {} as any] = await kept.rows('instance');
    await kept.passUntil(kept.stateIs('ended'));
    expect(await kept.deployment()).toMatchObject({ reason: 'lease', machines: 1 });
    expect(kept.clock.nowMs()).toBeLessThanOrEqual(expiresAtMs);
  });

  it('ends for good when its machine is terminated by hand, at any time of its life', async () => {
    const kept = await startKept();
    await kept.deploy();
    await kept.elapse(minuteMs);
    await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    await kept.passUntil(kept.stateIs('ended'));
    await kept.elapse(10 * minuteMs);
    expect(await kept.deployment()).toMatchObject({ reason: 'asked', machines: 1 });
    expect(kept.ours()).toHaveLength(1);
  });
});

describe('a deployment that a person decides about', () => {
  it('ends by its name while it waits for its next machine and nobody hunts yet', async () => {
    const kept = await startKept();
    kept.faults({ boot: { outcome: 'unhealthy' } });
    await kept.deploy();
    await kept.passUntil(kept.stateIs('waiting'));
    expect(await kept.rows('hunt')).toEqual([]);
    const { result, text } = await kept.confirmed('terminate_instance', { instances: ['analysts'] });
    expect(result).toMatchObject({ status: 'cancelled', instances: [{ name: 'analysts', status: 'cancelled' }] });
    expect(text).toContain('deployment analysts, which waits for a machine, cancelled');
    await kept.elapse(minuteMs);
    expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'asked', machines: 1 });
    expect(kept.launchesSent()).toBe(1);
  });

  it('ends by its name while nobody knows what became of its launch, and none is made again', async () => {
    const kept = await startKept();
    const next = await kept.reopenWhileLaunching();
    const plan = await next.call('terminate_instance', { instances: ['analysts'] });
    const { result } = await next.call('terminate_instance', {
      instances: ['analysts'],
      confirm_token: plan.result.confirm_token,
    });
    expect(result).toMatchObject({ status: 'cancelled', instances: [{ name: 'analysts', status: 'cancelled' }] });
    await kept.elapse(20 * minuteMs, [next]);
    expect(await kept.deployment()).toMatchObject({ state: 'ended', reason: 'asked' });
    expect(kept.launchesSent()).toBe(1);
  });

  it('gets no longer lease once it drains, for that would not keep it', async () => {
    const kept = await startKept();
    await kept.deployReady({ lease_hours: 0.5 });
    await kept.passUntil(kept.stateIs('draining'));
    const { isError, text } = await kept.call('renew_lease', { instance: 'analysts', hours: 5 });
    expect(isError).toBe(true);
    expect(text).toMatch(
      /^conflict: The deployment "analysts" is draining, and ends whatever its lease\. Launch it anew/,
    );
  });

  it('gets no lease beyond the window of its schedule, for that would not keep it', async () => {
    const windows = '[{days: mon-fri, from: "09:30", to: "18:00"}]';
    const kept = await startKept({
      yaml: `fleet: [{name: analysts, model: ${model}, types: [gpu_1x_gh200], windows: ${windows}, timeZone: Etc/UTC}]\n`,
    });
    await kept.passUntil(kept.stateIs('ready'), 60 * minuteMs);
    const { isError, text } = await kept.call('renew_lease', { instance: 'analysts', hours: 12 });
    expect(isError).toBe(true);
    expect(text).toMatch(/^invalid_input: "analysts" belongs to a schedule, whose window ends at 2026-11-23 18:00 /);
  });
});

describe('requests to a deployment', () => {
  it('are answered by serverless models while it boots', async () => {
    const kept = await startKept();
    await kept.deploy();
    await kept.pass();
    const answer = await kept.ask();
    expect(answer.result.backend).toBe('sandbox-serverless');
    expect(answer.text).toContain('"analysts" (gpt-oss-120b) is booting, ready in about 15 min');
  });

  it('are answered by serverless models while its keeper changes, and the way to it is opened anew', async () => {
    const kept = await startKept();
    await kept.deployReady();
    await kept.close();
    const next = await kept.openApp();
    expect(await kept.deployment()).toMatchObject({ state: 'ready', base_url: null });
    const ask = () => next.call('complete', { prompt: 'Hello', backend: 'analysts' });
    expect((await ask()).result.backend).toBe('sandbox-serverless');
    await kept.passUntil(async () => (await kept.deployment())?.base_url !== null, undefined, [next]);
    await kept.until(async () => (await ask()).result.backend === 'analysts');
  });

  it('that are under way when it drains are finished, and its machine waits for them', async () => {
    const kept = await startKept();
    await kept.deployReady({ lease_hours: 0.5 });
    kept.sandbox.machineServer(kept.ours()[0]?.id ?? '').override = 'slow';
    await kept.passUntil(async () => {
      const [{ lease_expires_at_ms: endsAtMs } = {} as any] = await kept.rows('instance');
      return kept.clock.nowMs() > endsAtMs - 3 * minuteMs - 10_000;
    });
    const answer = kept.ask();
    await kept.passUntil(kept.stateIs('draining'));
    await kept.pass();
    expect((await kept.deployment())?.state).toBe('draining');
    expect((await answer).result.backend).toBe('analysts');
    await kept.pass();
    await kept.pass();
    expect((await kept.deployment())?.state).toBe('ending');
  });

  it('do not keep its machine for longer than the time for draining', async () => {
    const kept = await startKept({ yaml: 'deployments: {drainSeconds: 30}\n' });
    await kept.deployReady({ lease_hours: 0.5 });
    kept.sandbox.machineServer(kept.ours()[0]?.id ?? '').override = 'silent';
    await kept.passUntil(async () => {
      const [{ lease_expires_at_ms: endsAtMs } = {} as any] = await kept.rows('instance');
      return kept.clock.nowMs() > endsAtMs - 100_000;
    });
    kept.ask().catch(() => undefined);
    await kept.passUntil(kept.stateIs('draining'), minuteMs);
    await kept.pass();
    expect((await kept.deployment())?.state).toBe('draining');
    await kept.passUntil(kept.stateIs('ended'), 3 * minuteMs);
    expect(kept.alive()).toEqual([]);
  });

  it('go elsewhere within twenty seconds when its server dies', async () => {
    const kept = await startKept();
    kept.faults({ serving: { diesAfterMs: 5 * minuteMs } });
    await kept.deployReady();
    await kept.passUntil(() => kept.ours()[0]?.isAnswering === false);
    await kept.elapse(20_000);
    expect((await kept.deployment())?.state).toBe('starting');
    expect((await kept.ask()).result.backend).toBe('sandbox-serverless');
  });

  it('come back when a server that was silent for a while answers again', async () => {
    const kept = await startKept();
    await kept.deployReady();
    // The sandbox restarts machines in a minute, and their servers with them.
    const { environment, lambda } = kept.sandbox;
    await fetch(`${environment.LAMBDA_API_BASE}/instance-operations/restart`, {
      method: 'POST',
      headers: { authorization: `Bearer ${environment.LAMBDA_API_KEY}`, 'content-type': 'application/json' },
      body: JSON.stringify({ instance_ids: [kept.ours()[0]?.id] }),
    });
    expect(lambda.instances().at(-1)?.isAnswering).toBe(false);
    await kept.passUntil(kept.stateIs('starting'), 5 * minuteMs);
    await kept.passUntil(kept.stateIs('ready'), 5 * minuteMs);
    expect((await kept.ask()).result.backend).toBe('analysts');
    expect(kept.ours()).toHaveLength(1);
  });
});
