import { describe, expect, it } from 'vitest';
import { intentTag } from '../../src/lambda/lease.ts';
import { until } from './cloud.ts';
import { failure, launchLine, openFleet, patientMs, plan } from './open-fleet.ts';

describe('Fleet.launch', () => {
  it('launches one machine that carries its intent, and records it', async () => {
    const { launch, instances, rows, launchesSent } = await openFleet();
    const result = await launch();
    const [row] = await rows();
    expect(instances()).toEqual([
      expect.objectContaining({
        id: result.instanceId,
        name: 'router-qwen',
        tags: [
          { key: 'managed-by', value: 'tandem' },
          { key: intentTag, value: row?.intent_id },
          { key: 'tandem-lease-cap', value: new Date(row?.lease_cap_at_ms ?? 0).toISOString().replace('.000Z', 'Z') },
        ],
      }),
    ]);
    expect(result).toEqual({ status: 'launching', instanceId: expect.any(String), adopted: false });
    expect(row).toMatchObject({ instance_id: result.instanceId, price_cents_per_hour: 129 });
    expect(launchesSent()).toBe(1);
  });

  it('has written the intent before anything is sent', async () => {
    const { launch, applyFaults, rows, requestLog } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 30_000 }] });
    const launching = launch();
    await until(() => requestLog.length === 1);
    expect(await rows()).toMatchObject([{ status: 'intent', instance_id: null, reserved_nano_usd: 1_290_000_000 }]);
    await launching;
  });

  it.each([
    { how: 'the connection is dropped', answer: { dropConnection: true } },
    { how: 'the answer is HTTP 500', answer: { status: 500 } },
    { how: 'the answer is HTTP 502 with a page of HTML', answer: { status: 502, body: 'html' } },
    { how: 'the answer is HTTP 429', answer: { status: 429, body: 'empty' } },
    { how: 'the answer is HTTP 408', answer: { status: 408 } },
    { how: 'the answer is HTTP 200 and unreadable', answer: { status: 200, body: 'html' } },
    { how: 'the answer is HTTP 200 and empty', answer: { status: 200, body: 'empty' } },
    { how: 'an internal error comes as HTTP 409', answer: { status: 409, code: 'global/internal-error' } },
    {
      how: 'an error of the provider comes as HTTP 400',
      answer: { status: 400, code: 'provider/internal-unavailable' },
    },
  ])('finds the machine by its tag when it was launched and $how', async ({ answer }) => {
    const { launch, applyFaults, instances, rows, launchesSent } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, ...answer }] });
    const result = await launch();
    expect(instances()).toHaveLength(1);
    expect(result).toEqual({ status: 'launching', instanceId: instances()[0]?.id, adopted: true });
    expect(await rows()).toMatchObject([{ status: 'booting', instance_id: result.instanceId }]);
    expect(launchesSent()).toBe(1);
  });

  it('finds the machine when the answer comes later than it is waited for', async () => {
    const { launch, applyFaults, instances, launchesSent } = await openFleet({
      timeoutsMs: { request: 5_000, launch: 400 },
    });
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 1_000_000 }] });
    expect(await launch()).toEqual({ status: 'launching', instanceId: instances()[0]?.id, adopted: true });
    expect(instances()).toHaveLength(1);
    expect(launchesSent()).toBe(1);
  });

  it('finds the machine when it comes about minutes after the answer was lost', async () => {
    const { launch, applyFaults, addInstance, rows, clock } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    const launching = launch();
    await until(async () => (await rows())[0]?.status === 'unconfirmed');
    await clock.sleep(3 * 60_000);
    const [row] = await rows();
    const id = addInstance({ tags: [{ key: intentTag, value: row?.intent_id ?? '' }] });
    expect(await launching).toEqual({ status: 'launching', instanceId: id, adopted: true });
  });

  it('goes on looking while the list cannot be read, however long that is', async () => {
    const { launch, applyFaults, instances, requestLog } = await openFleet();
    applyFaults({
      nextResponses: [
        { match: launchLine, afterCommit: true, dropConnection: true },
        { match: 'GET /instances', status: 403, body: 'html', times: 70 },
      ],
    });
    const result = await launch();
    const [first, last] = [requestLog[0], requestLog.at(-1)];
    expect((last?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(5 * 60_000);
    expect(result).toEqual({ status: 'launching', instanceId: instances()[0]?.id, adopted: true });
  });

  it.each([
    { how: 'the connection is dropped', answer: { dropConnection: true } },
    { how: 'the answer is HTTP 503', answer: { status: 503 } },
    { how: 'the answer is HTTP 429', answer: { status: 429 } },
  ])('counts as not launched when nothing was launched, $how, and no machine turns up', async ({ answer }) => {
    const { launch, applyFaults, instances, rows, leftUsd, launchesSent, requestLog } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, ...answer }] });
    const error = await failure(launch());
    expect(error).toMatchObject({ code: 'upstream_unavailable' });
    expect(error.text).toContain('no machine turned up within five minutes');
    const [row] = await rows();
    expect(row).toMatchObject({ status: 'not_launched', instance_id: null, reserved_nano_usd: 0 });
    expect(requestLog.at(-1)?.atMs).toBeGreaterThanOrEqual((row?.requested_at_ms ?? 0) + 5 * 60_000);
    expect(await leftUsd()).toBe(50);
    expect(instances()).toEqual([]);
    expect(launchesSent()).toBe(1);
  });

  it.each([
    { status: 400, code: 'instance-operations/launch/insufficient-capacity', becomes: 'capacity_unavailable' },
    { status: 400, code: 'global/quota-exceeded', becomes: 'quota_exceeded' },
    { status: 400, code: 'global/object-does-not-exist', becomes: 'not_found' },
    { status: 401, code: 'global/invalid-api-key', becomes: 'unauthorized' },
    { status: 403, code: 'global/account-inactive', becomes: 'forbidden' },
    { status: 403, body: 'html', becomes: 'forbidden' },
    { status: 422, code: 'never/heard-of', becomes: 'upstream_rejected' },
  ])('takes HTTP $status $code for a no, and looks no further', async ({ becomes, ...answer }) => {
    const { launch, applyFaults, rows, leftUsd, sent } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, ...answer }] });
    expect(await failure(launch())).toMatchObject({ code: becomes });
    expect(await rows()).toMatchObject([{ status: 'not_launched', reserved_nano_usd: 0 }]);
    expect(await leftUsd()).toBe(50);
    expect(sent()).toEqual([launchLine]);
  });

  it('says that it is unconfirmed when the answer takes longer than the caller waits, and still records it', async () => {
    const { launch, applyFaults, instances, rows, launchesSent } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 60_000 }] });
    expect(await launch({}, 20)).toEqual({ status: 'unconfirmed', instanceId: null, adopted: false });
    await until(async () => (await rows())[0]?.instance_id === instances()[0]?.id);
    expect(launchesSent()).toBe(1);
  });

  it('shows a machine under its id as soon as a list has it, although the answer is still open', async () => {
    const { launch, list, applyFaults, instances, rows } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 60_000 }] });
    const launching = launch();
    await until(() => instances().length === 1);
    const [row] = await rows();
    const listed = await list();
    expect(listed).toMatchObject([
      { id: instances()[0]?.id, intentId: row?.intent_id, managed: true, status: 'booting' },
    ]);
    expect(await launching).toMatchObject({ status: 'launching', instanceId: instances()[0]?.id });
    expect(await list()).toHaveLength(1);
  });

  it('shows a launch without answer and without machine as unconfirmed', async () => {
    const { launch, list, applyFaults } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 60_000 }] });
    await launch({}, 20);
    expect(await list()).toMatchObject([
      { id: null, name: 'router-qwen', status: 'unconfirmed', priceCentsPerHour: 129, cost: null, managed: true },
    ]);
  });

  it('holds the budget of a launch without answer', async () => {
    const { launch, applyFaults, leftUsd } = await openFleet({ dailyUsd: 2 });
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 60_000 }] });
    await launch({}, 20);
    expect(await leftUsd()).toBeCloseTo(0.71, 9);
    expect(await failure(launch({ name: 'second' }))).toMatchObject({ code: 'budget_exhausted' });
  });

  it('does not let two launches at once use the same dollar', async () => {
    const { launch, instances, rows } = await openFleet({ dailyUsd: 2 });
    const results = await Promise.allSettled([launch({ name: 'one' }), launch({ name: 'two' })]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    expect(instances()).toHaveLength(1);
    expect(await rows()).toHaveLength(1);
  });

  it('launches several machines one after the other, none of them refused for its pace', async () => {
    // The cloud counts arrivals: half a second of margin has to be more than a hiccup of this process.
    const { launch, list, instances, requestLog } = await openFleet({ speed: 10 });
    await list();
    await Promise.all(['one', 'two'].map((name) => launch({ name })));
    expect(
      instances()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['one', 'two']);
    expect(requestLog.filter(({ status }) => status === 429)).toEqual([]);
  });

  it('launches nothing for a call that is cancelled already', async () => {
    const { launch, rows, requestLog } = await openFleet();
    expect(await failure(launch({}, patientMs, AbortSignal.abort()))).toMatchObject({ code: 'cancelled' });
    expect(await rows()).toEqual([]);
    expect(requestLog).toEqual([]);
  });

  it('stops waiting when the call is cancelled, and still records what was launched', async () => {
    const { launch, applyFaults, instances, rows, requestLog } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 60_000 }] });
    const aborter = new AbortController();
    const launching = launch({}, patientMs, aborter.signal);
    await until(() => requestLog.length === 1);
    aborter.abort();
    expect(await launching).toMatchObject({ status: 'unconfirmed' });
    await until(async () => (await rows())[0]?.instance_id === instances()[0]?.id);
  });

  it('gives the id of a machine even when the ledger cannot be written any more', async () => {
    const { launch, applyFaults, instances, database, requestLog } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 50_000 }] });
    const launching = launch();
    await until(() => requestLog.length === 1);
    await database.close();
    expect(await launching).toMatchObject({ status: 'launching', instanceId: instances()[0]?.id });
  });
});

describe('Fleet.close and the next start', () => {
  it('ends at once while an answer is awaited, and leaves the launch as unconfirmed', async () => {
    const { launch, applyFaults, fleet, instances, rows } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 3_600_000 }] });
    const launching = failure(launch());
    await until(() => instances().length === 1);
    const startedAt = performance.now();
    await fleet.close();
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(await rows()).toMatchObject([{ status: 'unconfirmed', instance_id: null }]);
    expect(await launching).toMatchObject({ code: 'cancelled' });
  });

  it('adopts the machine of an earlier process by its tag, without being asked', async () => {
    const { launch, applyFaults, fleet, restart, instances, rows, launchesSent } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 3_600_000 }] });
    const launching = failure(launch());
    await until(() => instances().length === 1);
    await fleet.close();
    await launching;
    const next = restart();
    await until(async () => {
      await next.list(new AbortController().signal);
      return (await rows())[0]?.instance_id === instances()[0]?.id;
    });
    expect(launchesSent()).toBe(1);
  });

  it('gives up the launch of an earlier process that never came about', async () => {
    const { launch, applyFaults, fleet, restart, rows, leftUsd } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, delayMs: 20_000, dropConnection: true }] });
    const launching = failure(launch());
    await until(async () => (await rows()).length === 1);
    await fleet.close();
    await launching;
    const next = restart();
    await until(async () => {
      await next.list(new AbortController().signal);
      return (await rows())[0]?.status === 'not_launched';
    });
    expect(await leftUsd()).toBe(50);
  });
});

describe('Fleet.list', () => {
  it('takes back a launch that was given up when its machine turns up after all', async () => {
    const { launch, list, applyFaults, addInstance, rows } = await openFleet();
    applyFaults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    await failure(launch());
    const [given] = await rows();
    expect(given?.status).toBe('not_launched');
    const id = addInstance({
      name: plan.name,
      active: true,
      tags: [{ key: intentTag, value: given?.intent_id ?? '' }],
    });
    expect(await list()).toMatchObject([{ id, intentId: given?.intent_id, managed: true, status: 'active' }]);
    expect(await rows()).toMatchObject([{ instance_id: id, status: 'active', first_active_at_ms: expect.any(Number) }]);
  });

  it('knows the machines of other Tandems by their tag, and their cost not at all', async () => {
    const { list, addInstance } = await openFleet();
    addInstance({ name: 'theirs', tags: [{ key: intentTag, value: 'somebody-elses' }] });
    expect(await list()).toMatchObject([{ name: 'theirs', managed: true, intentId: 'somebody-elses', cost: null }]);
  });

  it('takes the age of a foreign machine from when it was first healthy, where the API says it', async () => {
    const { list, addInstance, applyFaults, clock } = await openFleet();
    addInstance({ name: 'foreign', active: true, launchedAtMs: clock.nowMs() - 3_600_000 });
    expect((await list())[0]).toMatchObject({ managed: false, ageMs: null });
    applyFaults({ shape: { firstHealthy: true } });
    expect((await list())[0]?.ageMs).toBeGreaterThanOrEqual(3_600_000);
  });

  it('calls a machine without name by its host name, else by its id', async () => {
    const { list, addInstance } = await openFleet();
    addInstance({ active: true });
    const id = addInstance();
    const [active, booting] = await list();
    expect(active?.name).toMatch(/^sandbox-198-51-100-/);
    expect(booting?.name).toBe(id);
  });
});
