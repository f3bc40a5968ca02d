import { describe, expect, it } from 'vitest';
import { instanceCost } from '../../src/usage/instance-cost.ts';
import { isAdopted } from '../../src/usage/leases.ts';
import { type FleetOptions, hourMs, openFleet } from './open-fleet.ts';

const ours = { key: 'managed-by', value: 'tandem' };
const lives = new AbortController().signal;
const capMs = 24 * hourMs;

function capTag(ms: number) {
  return { key: 'tandem-lease-cap', value: new Date(ms).toISOString() };
}

/** An account with a machine of a Tandem whose ledger is lost. */
async function openOrphaned({
  orphans = 'adopt',
  ...options
}: FleetOptions & { orphans?: 'adopt' | 'terminate' } = {}) {
  const fleet = await openFleet({ leases: { defaultMs: 4 * hourMs, capMs, orphans }, ...options });
  const { clock, addInstance } = fleet;
  return {
    ...fleet,
    orphan: (tags: { key: string; value: string }[] = [], hoursAgo = 3) =>
      addInstance({
        name: 'lost',
        active: true,
        launchedAtMs: clock.nowMs() - hoursAgo * hourMs,
        tags: [ours, ...tags],
      }),
  };
}

describe('a machine that is billed but not recorded', () => {
  it('is taken in, with a lease, and it is told once', async () => {
    const { orphan, list, rows, notices, fleet, clock } = await openOrphaned();
    const id = orphan([{ key: 'tandem-intent', value: 'ab12' }]);
    const before = clock.nowMs();
    const [listed] = await list();
    await list();
    const [row, ...more] = await rows();
    expect(more).toEqual([]);
    expect(listed).toMatchObject({ id, managed: true, isRecorded: true });
    expect(row).toMatchObject({ intent_id: 'ab12', instance_id: id, name: 'lost', planned_price_cents_per_hour: null });
    expect((row?.lease_expires_at_ms ?? 0) - before).toBeGreaterThanOrEqual(4 * hourMs);
    expect((row?.lease_expires_at_ms ?? 0) - clock.nowMs()).toBeLessThanOrEqual(4 * hourMs);
    expect(notices).toEqual([
      {
        kind: 'orphan_found',
        key: `orphan_found:${id}`,
        text: expect.stringMatching(
          /^"lost" \(.*\) bears Tandem's tag and was in no ledger\. It gets a lease until 2026-11-23/,
        ),
      },
    ]);
    expect(fleet.findings?.adopted).toEqual([{ id, name: 'lost', instanceType: 'gpu_1x_a10' }]);
  });

  it('is counted from when it was first healthy, where the API says so', async () => {
    const { orphan, list, rows, applyFaults, clock, sent } = await openOrphaned();
    applyFaults({ shape: { firstHealthy: true } });
    orphan();
    await list();
    const [row] = await rows();
    expect(sent()).not.toContain('GET /audit-events');
    if (!row) throw new Error('no row');
    expect(instanceCost(row, 0, clock.nowMs(), clock.nowMs()).minutes).toBeGreaterThanOrEqual(180);
  });

  it('is counted from the first event that names it, where that may be read', async () => {
    const { orphan, list, rows, clock, instances } = await openOrphaned();
    orphan();
    await list();
    const [row] = await rows();
    expect(row?.requested_at_ms).toBe(instances()[0]?.launchedAtMs);
    if (!row) throw new Error('no row');
    expect(instanceCost(row, 0, clock.nowMs(), clock.nowMs()).minutes).toBeGreaterThanOrEqual(180);
  });

  it("is looked up in the account's log together with all others", async () => {
    const { orphan, list, rows, instances, sent } = await openOrphaned();
    for (let count = 0; count < 5; count += 1) orphan();
    await list();
    expect(sent().filter((line) => line === 'GET /audit-events')).toHaveLength(1);
    const started = instances().map(({ launchedAtMs }) => launchedAtMs);
    expect((await rows()).map((row) => row.requested_at_ms).sort()).toEqual(started.sort());
  });

  it('is counted from its launch by the cap in its tags, where the log cannot be read', async () => {
    const { orphan, list, rows, applyFaults, clock } = await openOrphaned();
    applyFaults({ nextResponses: [{ match: 'GET /audit-events', status: 403, code: 'global/forbidden', times: 9 }] });
    const launchedAtMs = Math.floor(clock.nowMs() / 1000) * 1000 - 3 * hourMs;
    orphan([capTag(launchedAtMs + capMs)]);
    await list();
    expect(await rows()).toMatchObject([{ requested_at_ms: launchedAtMs, first_active_at_ms: launchedAtMs }]);
  });

  it.each([
    ['that is further away than any from now on', capMs + hourMs],
    ['of a machine that would be older than any', -721 * hourMs],
  ])('is counted from now where its tags name a cap %s', async (_what, awayMs) => {
    const { orphan, list, rows, applyFaults, clock } = await openOrphaned();
    applyFaults({ nextResponses: [{ match: 'GET /audit-events', status: 403, code: 'global/forbidden', times: 9 }] });
    orphan([capTag(clock.nowMs() + awayMs)]);
    const before = clock.nowMs();
    await list();
    expect((await rows())[0]?.requested_at_ms).toBeGreaterThanOrEqual(before);
  });

  it('is counted from now where nothing says more', async () => {
    const { orphan, list, rows, applyFaults, clock } = await openOrphaned();
    applyFaults({ nextResponses: [{ match: 'GET /audit-events', status: 403, code: 'global/forbidden' }] });
    orphan();
    const before = clock.nowMs();
    await list();
    expect((await rows())[0]?.requested_at_ms).toBeGreaterThanOrEqual(before);
  });

  it('gets no more than the cap in its tags allows', async () => {
    const { orphan, list, rows, clock } = await openOrphaned();
    const capAtMs = Math.floor(clock.nowMs() / 1000) * 1000 + hourMs;
    orphan([capTag(capAtMs)]);
    await list();
    expect(await rows()).toMatchObject([{ lease_expires_at_ms: capAtMs, lease_cap_at_ms: capAtMs }]);
  });

  it('is terminated when its cap has passed', async () => {
    const { orphan, list, openKeeper, instances, rows, clock, notices } = await openOrphaned();
    orphan([capTag(clock.nowMs() - hourMs)]);
    await list();
    await openKeeper().enforce(lives);
    expect(['terminating', 'terminated']).toContain(instances()[0]?.status);
    expect(await rows()).toMatchObject([{ end_reason: 'orphan' }]);
    expect(notices.map(({ kind }) => kind)).toEqual(['orphan_found', 'lease_expired']);
    expect(notices[0]?.text).toMatch(/It is terminated\.$/);
  });

  it('is terminated, and recorded, when orphans are to be', async () => {
    const { orphan, list, openKeeper, instances, rows, notices } = await openOrphaned({ orphans: 'terminate' });
    orphan();
    await list();
    await openKeeper().enforce(lives);
    expect(['terminating', 'terminated']).toContain(instances()[0]?.status);
    expect(await rows()).toMatchObject([{ end_reason: 'orphan', first_active_at_ms: expect.any(Number) }]);
    expect(notices[0]?.text).toMatch(/It is terminated\.$/);
  });

  it('is taken in once by two processes', async () => {
    const { orphan, list, restart, rows, notices } = await openOrphaned();
    orphan();
    await Promise.all([list(), restart().list(lives)]);
    expect(await rows()).toHaveLength(1);
    expect(notices).toHaveLength(1);
  });

  it('is not taken in while it ends', async () => {
    const { orphan, list, client, rows } = await openOrphaned();
    const id = orphan();
    await client.terminate([id], lives);
    await list();
    expect(await rows()).toEqual([]);
  });

  it('is the machine of its intent, and no orphan, as long as the intent is there', async () => {
    const { launch, list, rows, notices } = await openFleet();
    await launch();
    await list();
    const [row] = await rows();
    expect(row && isAdopted(row)).toBe(false);
    expect(notices).toEqual([]);
  });
});

describe('a machine that is not ours', () => {
  it.each([
    ['no tag', []],
    ['the tag of another tool', [{ key: 'managed-by', value: 'terraform' }]],
    ['only an intent', [{ key: 'tandem-intent', value: 'x' }]],
  ])('with %s is shown and never touched', async (_what, tags) => {
    const { list, addInstance, openKeeper, rows, fleet, instances } = await openFleet();
    const id = addInstance({ name: 'theirs', active: true, tags });
    await list();
    await openKeeper().enforce(lives);
    expect(await rows()).toEqual([]);
    expect(fleet.findings).toMatchObject({ adopted: [], unmanaged: [{ id, name: 'theirs' }] });
    expect(instances()[0]?.status).toBe('active');
  });
});

it('a machine that is recorded but gone is closed when a list no longer shows it', async () => {
  const { launch, list, clock, client, applyFaults, rows } = await openFleet();
  applyFaults({ boot: { durationMs: 0 }, terminate: { durationMs: 0 } });
  const { instanceId } = await launch();
  await list();
  // Somebody ends it in the console, and nobody looks for an hour.
  await client.terminate([instanceId ?? ''], lives);
  clock.jump(hourMs);
  await list();
  const [row] = await rows();
  expect(row).toMatchObject({ status: 'gone', end_reason: null });
  expect((row?.gone_at_ms ?? 0) - (row?.last_seen_at_ms ?? 0)).toBeGreaterThanOrEqual(0);
});

it('a machine that somebody asked to end says so in its row', async () => {
  const { launch, list, fleet, find, applyFaults, rows } = await openFleet();
  applyFaults({ terminate: { durationMs: 0 } });
  await launch();
  await fleet.terminate(await find('router-qwen'), lives);
  await list();
  expect(await rows()).toMatchObject([{ end_reason: 'asked', gone_at_ms: expect.any(Number) }]);
});

describe('a price that differs from the plan', () => {
  it('is told once, found each time, and counted as it is billed', async () => {
    const { launch, list, applyFaults, fleet, rows, notices } = await openFleet();
    applyFaults({ priceCentsPerHour: { gpu_1x_a10: 199 } });
    const { instanceId: id } = await launch();
    await list();
    await list();
    expect(fleet.findings?.drift).toMatchObject([{ id, plannedCentsPerHour: 129, priceCentsPerHour: 199 }]);
    expect(await rows()).toMatchObject([{ price_cents_per_hour: 199, planned_price_cents_per_hour: 129 }]);
    expect(notices).toEqual([
      {
        kind: 'price_changed',
        key: `price_changed:${id}:199`,
        text: `"router-qwen" (${id}) is billed at $1.99 an hour; $1.29 was planned. What it costs is counted at the new price.`,
      },
    ]);
  });
});

it('what runs past its lease is found', async () => {
  const { launch, list, fleet, clock } = await openFleet();
  const { instanceId: id } = await launch();
  await list();
  expect(fleet.findings?.overdue).toEqual([]);
  clock.jump(2 * hourMs);
  await list();
  expect(fleet.findings?.overdue).toMatchObject([{ id, name: 'router-qwen', expiredAtMs: expect.any(Number) }]);
});
