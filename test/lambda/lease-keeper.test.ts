import { CompiledQuery } from 'kysely';
import { describe, expect, it } from 'vitest';
import { LeaseKeeper } from '../../src/lambda/lease-keeper.ts';
import { instanceCost } from '../../src/usage/instance-cost.ts';
import type { FleetOptions } from './open-fleet.ts';
import { hourMs, openFleet } from './open-fleet.ts';

const terminateLine = 'POST /instance-operations/terminate';
const minuteMs = 60_000;
const lives = new AbortController().signal;

/** A fleet with one machine of an hour's lease, and passes of a keeper over it: list, then enforce. */
async function openLeased(options: FleetOptions = {}) {
  const fleet = await openFleet({ dailyUsd: 500, speed: 50, ...options });
  fleet.applyFaults({ boot: { durationMs: 0 }, terminate: { durationMs: 0 }, pacing: { enabled: false } });
  await fleet.launch();
  const keeper = fleet.openKeeper();
  const passOf = async (one: LeaseKeeper) => {
    await fleet.list().catch(() => undefined);
    await one.enforce(lives);
  };
  return {
    ...fleet,
    keeper,
    passOf,
    pass: () => passOf(keeper),
    row: async () => (await fleet.rows())[0],
    terminations: () => fleet.sent().filter((line) => line === terminateLine).length,
    running: () => fleet.instances().filter(({ status }) => status !== 'terminated').length,
    kinds: () => fleet.notices.map(({ kind }) => kind),
  };
}

describe('before a lease ends', () => {
  it('nothing happens', async () => {
    const { pass, clock, running, kinds, terminations } = await openLeased();
    clock.jump(40 * minuteMs);
    await pass();
    expect([running(), terminations(), kinds()]).toEqual([1, 0, []]);
  });

  it('it is said once, when four fifths have passed: when, what it cost, and what keeps it', async () => {
    const { pass, passOf, openKeeper, clock, notices } = await openLeased();
    clock.jump(50 * minuteMs);
    await pass();
    await pass();
    await passOf(openKeeper());
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatchObject({ kind: 'lease_80' });
    expect(notices[0]?.text).toMatch(
      /^"router-qwen" \([0-9a-f]{32}, gpu_1x_a10 in us-east-1\) is terminated at 2026-11-23 \d\d:\d\d UTC, in \d+ min: renew_lease keeps it, until 2026-11-24 \d\d:\d\d UTC at most\. It has cost \$1\.\d\d so far\.$/,
    );
  });

  it('it is said again for a lease that was renewed', async () => {
    const { pass, clock, ledger, row, kinds } = await openLeased();
    clock.jump(50 * minuteMs);
    await pass();
    const { intent_id: intentId = '', lease_expires_at_ms: fromExpiresAtMs = null } = (await row()) ?? {};
    const lease = { expiresAtMs: clock.nowMs() + hourMs, capAtMs: 0 };
    await ledger.leases.renew({ intentId, fromExpiresAtMs, lease });
    await pass();
    expect(kinds()).toEqual(['lease_80']);
    clock.jump(50 * minuteMs);
    await pass();
    expect(kinds()).toEqual(['lease_80', 'lease_80']);
  });
});

describe('when a lease has ended', () => {
  it('the machine is terminated, and it is said and recorded why', async () => {
    const { pass, clock, running, row, kinds } = await openLeased();
    clock.jump(hourMs);
    await pass();
    expect(running()).toBe(0);
    await pass();
    expect(await row()).toMatchObject({ end_reason: 'lease', gone_at_ms: expect.any(Number) });
    expect(kinds()).toEqual(['lease_expired']);
  });

  it('and the termination is ignored, it is asked for again, every 30 seconds and not more often', async () => {
    const { pass, clock, running, applyFaults, terminations } = await openLeased({ speed: 5 });
    applyFaults({ terminate: { ignoreTimes: 2 } });
    clock.jump(hourMs);
    await pass();
    await pass();
    expect([running(), terminations()]).toEqual([1, 1]);
    clock.jump(30_000);
    await pass();
    await pass();
    expect([running(), terminations()]).toEqual([1, 2]);
    clock.jump(30_000);
    await pass();
    expect([running(), terminations()]).toEqual([0, 3]);
  });

  it('and the id is missing from the answer, it ends all the same', async () => {
    const { pass, clock, running, applyFaults, row } = await openLeased();
    applyFaults({ terminate: { omitFromAnswerTimes: 1 } });
    clock.jump(hourMs);
    await pass();
    await pass();
    expect(running()).toBe(0);
    expect(await row()).toMatchObject({ end_reason: 'lease' });
  });

  it.each([
    ['refuses everything', 403],
    ['answers nothing but errors', 503],
  ])('while the API %s for an hour, it ends in the first pass in which the API answers', async (_what, status) => {
    const { pass, clock, running, applyFaults, resetFaults, row, bill, notices } = await openLeased();
    await pass();
    applyFaults({
      nextResponses: [
        { match: terminateLine, status, times: 1_000 },
        { match: 'GET /instances', status: 403, body: 'html', times: 1_000 },
      ],
    });
    clock.jump(hourMs);
    for (let minutes = 0; minutes < 60; minutes += 15) {
      await pass();
      clock.jump(15 * minuteMs);
    }
    expect(running()).toBe(1);
    // Its minutes go on.
    expect((await row())?.terminate_requested_at_ms).toBeNull();
    expect(notices.at(-1)?.text).toMatch(
      /has ended, and Lambda Cloud has not taken its termination \(.*\)\. It is billed on/,
    );
    resetFaults();
    applyFaults({ terminate: { durationMs: 0 }, pacing: { enabled: false } });
    await pass();
    expect(running()).toBe(0);
    await pass();
    const ended = await row();
    expect(ended).toMatchObject({ end_reason: 'lease', gone_at_ms: expect.any(Number) });
    if (!ended) return;
    const { minutes } = instanceCost(ended, 0, clock.nowMs(), clock.nowMs());
    expect(Math.abs(minutes - (bill().instances[0]?.minutes ?? 0))).toBeLessThanOrEqual(1);
  });

  it('one machine that cannot be ended keeps no other from its end', async () => {
    const { launch, pass, clock, applyFaults, instances, list } = await openLeased();
    await launch({ name: 'second' });
    await launch({ name: 'third' });
    await list();
    applyFaults({ nextResponses: [{ match: terminateLine, status: 500, times: 1 }] });
    clock.jump(hourMs);
    await pass();
    expect(instances().filter(({ status }) => status === 'terminated')).toHaveLength(2);
    clock.jump(30_000);
    await pass();
    expect(instances().filter(({ status }) => status === 'terminated')).toHaveLength(3);
  });

  it('two keepers at once are harmless', async () => {
    const { passOf, openKeeper, clock, running, kinds, row } = await openLeased();
    clock.jump(hourMs);
    await Promise.all([passOf(openKeeper()), passOf(openKeeper())]);
    expect(running()).toBe(0);
    expect(kinds()).toEqual(['lease_expired']);
    expect(await row()).toMatchObject({ end_reason: 'lease' });
  });

  it('a clock that goes back does not stop a keeper from asking again', async () => {
    const { pass, clock, running, applyFaults, row, terminations } = await openLeased();
    applyFaults({ terminate: { ignoreTimes: 1 } });
    clock.jump(3 * hourMs);
    await pass();
    clock.jump(-90 * minuteMs);
    await pass();
    expect([running(), terminations()]).toEqual([0, 2]);
    await pass();
    expect((await row())?.gone_at_ms).not.toBeNull();
  });

  it('a clock that goes back before its end leaves the machine alone', async () => {
    const { pass, clock, running } = await openLeased();
    clock.jump(-5 * hourMs);
    await pass();
    expect(running()).toBe(1);
  });

  it('it is terminated even when the ledger cannot be written and nobody can be told', async () => {
    const { client, ledger: instances, clock, pass, running, database, log } = await openLeased();
    await pass();
    // As a full disk has it: reading goes on, writing does not.
    await database.write(async (queries) => {
      const full = "CREATE TRIGGER full BEFORE UPDATE ON instance BEGIN SELECT RAISE(ABORT, 'disk full'); END";
      await queries.executeQuery(CompiledQuery.raw(full));
    });
    const keeper = new LeaseKeeper({
      client,
      instances,
      clock,
      log,
      tell: () => Promise.reject(new Error('disk full')),
    });
    clock.jump(hourMs);
    await keeper.enforce(lives);
    expect(running()).toBe(0);
  });
});

describe('a machine without a lease', () => {
  it('of before there were leases is left alone', async () => {
    const { pass, clock, running, database, kinds } = await openLeased();
    await database.write(async (queries) => {
      await queries.updateTable('instance').set({ lease_expires_at_ms: null, lease_cap_at_ms: null }).execute();
    });
    clock.jump(100 * hourMs);
    await pass();
    expect([running(), kinds()]).toEqual([1, []]);
  });

  it('of somebody else is left alone', async () => {
    const { pass, addInstance, clock, instances } = await openLeased();
    const id = addInstance({ name: 'theirs', active: true });
    clock.jump(100 * hourMs);
    await pass();
    expect(instances().find((instance) => instance.id === id)?.status).toBe('active');
  });
});

it('a launch without answer is ended when its machine turns up after its lease', async () => {
  const { launch, applyFaults, openKeeper, list, clock, instances, rows } = await openFleet();
  applyFaults({
    terminate: { durationMs: 0 },
    nextResponses: [
      { match: 'POST /instance-operations/launch', afterCommit: true, dropConnection: true },
      { match: 'GET /instances', status: 403, body: 'html', times: 200 },
    ],
  });
  await launch({}, 20);
  clock.jump(hourMs);
  const keeper = openKeeper();
  await keeper.enforce(lives);
  expect((await rows())[0]?.instance_id).toBeNull();
  applyFaults({ nextResponses: [] });
  await list();
  await keeper.enforce(lives);
  expect(instances()[0]?.status).toBe('terminated');
});

it('a termination that nobody saw being ignored is asked for again, by whoever keeps then', async () => {
  const { pass, clock, running, applyFaults, ledger, client, row, terminations, kinds } = await openLeased();
  await pass();
  applyFaults({ terminate: { ignoreTimes: 1 } });
  const id = (await row())?.instance_id ?? '';
  // As a process leaves it that could not read the list afterwards, or was killed before it did.
  await ledger.terminateRequested([id]);
  await client.terminate([id], lives);
  await pass();
  expect([running(), terminations()]).toEqual([1, 1]);
  clock.jump(4 * minuteMs);
  await pass();
  expect([running(), terminations()]).toEqual([0, 2]);
  expect(await row()).toMatchObject({ end_reason: 'asked' });
  expect(kinds()).toEqual([]);
});
