import { describe, expect, it } from 'vitest';
import { usd } from '../../src/tools/text.ts';
import { confirmed, instanceRows } from '../lambda/steps.ts';
import { JumpClock } from '../support/clock.ts';
import { startWorld, type World, type WorldOptions } from '../support/world.ts';

const tool = 'renew_lease';
const hourMs = 3_600_000;

/** A world in the morning, with an A10 of a lease of four hours; pacing off, since minutes must not go by. */
async function openWorld(options: WorldOptions & { dailyUsd?: number } = {}): Promise<World & { clock: JumpClock }> {
  const clock = new JumpClock('2026-11-23T02:00:00Z', 100);
  const world = await startWorld({
    yaml: () => `budgets: {dailyUsd: ${options.dailyUsd ?? 50}, monthlyUsd: 1000, timeZone: Etc/UTC}\n`,
    clock,
    ...options,
  });
  world.sandbox.lambda.applyFaults({ boot: { durationMs: 0 }, pacing: { enabled: false } });
  await launchNamed(world, 'trainer');
  return { ...world, clock };
}

async function launchNamed(world: World, name: string): Promise<void> {
  const input = { instance_type: 'gpu_1x_a10', name };
  const first = await world.call('launch_instance', input);
  const token = first.result.confirm_token;
  if (token) await world.call('launch_instance', { ...input, confirm_token: token });
}

async function rowNamed(world: World, name: string) {
  return (await instanceRows(world)).find((row) => row.name === name);
}

/** Hours until the lease ends, from now. */
async function hoursLeft(world: World, name = 'trainer'): Promise<number> {
  return (((await rowNamed(world, name))?.lease_expires_at_ms ?? 0) - world.clock.nowMs()) / hourMs;
}

describe('renew_lease: the plan', () => {
  it('says when the lease would end, what the machine costs until then and where the cap is, and changes nothing', async () => {
    const world = await openWorld();
    const before = await rowNamed(world, 'trainer');
    const { result, text } = await world.call(tool, { instance: 'trainer', hours: 10 });
    expect(result).toMatchObject({
      status: 'confirm_required',
      plan: {
        id: before?.instance_id,
        name: 'trainer',
        lease_ended_at: expect.stringMatching(/^2026-11-23 06:/),
        lease_ends_at: expect.stringMatching(/^2026-11-23 12:/),
        lease_cap_at: expect.stringMatching(/^2026-11-24 02:/),
        adopts: false,
      },
      note: 'Nothing was changed yet.',
      confirm_token: expect.any(String),
    });
    expect(result.plan.worst_case_usd).toBeCloseTo(12.9, 0);
    for (const fact of [
      result.plan.lease_ends_at,
      result.plan.lease_cap_at,
      'trainer',
      usd(result.plan.worst_case_usd),
      result.confirm_token,
    ])
      expect(text).toContain(fact);
    expect((await rowNamed(world, 'trainer'))?.lease_expires_at_ms).toBe(before?.lease_expires_at_ms);
  });

  it('never goes beyond the cap, and says what to do', async () => {
    const { isError, text } = await (await openWorld()).call(tool, { instance: 'trainer', hours: 25 });
    expect(isError).toBe(true);
    expect(text).toMatch(
      /^invalid_input: It may live until 2026-11-24 02:\d\d UTC at most, .* Give hours: 23\.\d or less\./,
    );
  });

  it('needs room in the budget', async () => {
    const world = await openWorld({ dailyUsd: 10 });
    const { isError, text } = await world.call(tool, { instance: 'trainer', hours: 12 });
    expect(isError).toBe(true);
    expect(text).toMatch(
      /^budget_exhausted: The daily budget of \$10\.00 has \$[45]\.\d\d left; .* A lease of [78](?:\.\d)? h would fit/,
    );
  });

  it('lists what there is when the machine does not exist', async () => {
    const { text } = await (await openWorld()).call(tool, { instance: 'nobody', hours: 1 });
    expect(text).toMatch(/^not_found: There is no instance "nobody"\. There are: /);
  });

  it.each([0, -1])('refuses %s hours', async (hours) => {
    const { text } = await (await openWorld()).call(tool, { instance: 'trainer', hours });
    expect(text).toMatch(/^invalid_input: .*hours/);
  });

  it('asks in the chat where the client can', async () => {
    const questions: string[] = [];
    const world = await openWorld({
      person: (question) => {
        questions.push(question);
        return questions.length === 1 ? 'accept' : 'decline';
      },
    });
    const { result } = await world.call(tool, { instance: 'trainer', hours: 10 });
    expect(questions.at(-1)).toMatch(
      /^Let "trainer" \(.*, gpu_1x_a10\) run until 2026-11-23 12:\d\d Etc\/UTC instead of 2026-11-23 06:\d\d, and terminate it then \(cap 2026-11-24 02:\d\d\); until then it costs \$1[23]\.\d\d in all, \$\d\.\d+ of it so far\?$/,
    );
    expect(result).toMatchObject({ status: 'declined', note: 'The person declined. Nothing was changed.' });
  });
});

describe('renew_lease: the yes', () => {
  it('moves the end of the lease, which the list then shows', async () => {
    const world = await openWorld();
    const { result, text } = await confirmed(world, tool, { instance: 'trainer', hours: 10 });
    expect(result.status).toBe('renewed');
    expect(text).toMatch(/^renewed: .*\nIt is terminated when the lease ends/);
    expect(await hoursLeft(world)).toBeCloseTo(10, 0);
    const listed = (await world.call('list_gpu_instances')).result.instances;
    expect(listed.at(-1)).toMatchObject({ name: 'trainer', lease_ends_at: result.plan.lease_ends_at, overdue: false });
  });

  it('comes too late when the lease has expired meanwhile', async () => {
    const world = await openWorld();
    const input = { instance: 'trainer', hours: 10 };
    const plan = await world.call(tool, input);
    world.clock.jump(5 * hourMs);
    const { isError, text } = await world.call(tool, { ...input, confirm_token: plan.result.confirm_token });
    expect(isError).toBe(true);
    expect(text).toMatch(/^conflict: The lease of "trainer" has ended, .* launch another instance/);
    const { text: list } = await world.call('list_gpu_instances');
    expect(list).toMatch(/overdue \d+ min|terminating/);
  });

  it('holds for one lease: not for one that was renewed since', async () => {
    const world = await openWorld();
    const input = { instance: 'trainer', hours: 10 };
    const [first, second] = [await world.call(tool, input), await world.call(tool, input)];
    await world.call(tool, { ...input, confirm_token: first.result.confirm_token });
    const { text } = await world.call(tool, { ...input, confirm_token: second.result.confirm_token });
    expect(text).toMatch(/^conflict: The lease of "trainer" has changed since the plan was made/);
  });

  it('finds the budget used up meanwhile', async () => {
    const world = await openWorld({ dailyUsd: 15 });
    const input = { instance: 'trainer', hours: 10 };
    const plan = await world.call(tool, input);
    await launchNamed(world, 'second');
    const { text } = await world.call(tool, { ...input, confirm_token: plan.result.confirm_token });
    expect(text).toMatch(/^budget_exhausted: /);
    expect(await hoursLeft(world)).toBeLessThan(4);
  });

  it('is in the audit with its plan, for whoever gave it', async () => {
    const world = await openWorld();
    await confirmed(world, tool, { instance: 'trainer', hours: 10 });
    const [entry] = (await world.app.audit.last(1)) ?? [];
    expect(entry).toMatchObject({ action: tool, effect: 'spend', outcome: 'done', confirmed_by: 'confirm_token' });
    expect(JSON.parse(entry?.subject ?? '')).toEqual({ instance: 'trainer', hours: 10 });
    expect(JSON.parse(entry?.plan ?? '')).toMatchObject({
      target: { name: 'trainer' },
      lease: { expiresAtMs: expect.any(Number) },
      worstCaseNanoUsd: expect.any(Number),
    });
    expect(JSON.parse(entry?.result ?? '')).toMatchObject({
      status: 'renewed',
      plan: { name: 'trainer', adopts: false },
    });
  });
});

describe('renew_lease on a machine that Tandem did not launch', () => {
  it('takes it in with a lease, and says so first', async () => {
    const world = await openWorld({ dailyUsd: 500 });
    const input = { instance: 'sandbox-box', hours: 2 };
    const plan = await world.call(tool, input);
    expect(plan.result.plan).toMatchObject({ adopts: true, lease_ended_at: null });
    expect(plan.text).toContain('which Tandem did not launch, into the ledger and let it run until');
    expect(await rowNamed(world, 'sandbox-box')).toBeUndefined();
    const { result } = await world.call(tool, { ...input, confirm_token: plan.result.confirm_token });
    expect(result.status).toBe('adopted');
    expect(await rowNamed(world, 'sandbox-box')).toMatchObject({ price_cents_per_hour: 229, deployment_id: null });
    expect(await hoursLeft(world, 'sandbox-box')).toBeCloseTo(2, 0);
    const listed = (await world.call('list_gpu_instances')).result.instances;
    expect(listed.find(({ name }: { name: string }) => name === 'sandbox-box')).toMatchObject({
      managed: true,
      cost_so_far_usd: expect.any(Number),
      lease_ends_at: result.plan.lease_ends_at,
    });
  });

  it('is renewed from then on', async () => {
    const world = await openWorld({ dailyUsd: 500 });
    await confirmed(world, tool, { instance: 'sandbox-box', hours: 2 });
    expect((await confirmed(world, tool, { instance: 'sandbox-box', hours: 5 })).result.status).toBe('renewed');
    expect(await hoursLeft(world, 'sandbox-box')).toBeCloseTo(5, 0);
  });

  it('takes it in once', async () => {
    const world = await openWorld({ dailyUsd: 500 });
    const input = { instance: 'sandbox-box', hours: 2 };
    const [first, second] = [await world.call(tool, input), await world.call(tool, input)];
    await world.call(tool, { ...input, confirm_token: first.result.confirm_token });
    const { text } = await world.call(tool, { ...input, confirm_token: second.result.confirm_token });
    expect(text).toMatch(/^conflict: /);
    expect((await instanceRows(world)).filter(({ name }) => name === 'sandbox-box')).toHaveLength(1);
  });
});
