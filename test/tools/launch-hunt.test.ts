import { describe, expect, it } from 'vitest';
import { until } from '../lambda/cloud.ts';
import { confirmed, countSent, instanceRows, launchLine } from '../lambda/steps.ts';
import { JumpClock } from '../support/clock.ts';
import { startWorld, type World, type WorldOptions } from '../support/world.ts';

const tool = 'launch_instance';
const hourMs = 3_600_000;
const friday = '2026-11-27T12:00:00-06:00';
const wait = { types: ['gpu_8x_h100_sxm5'], until: friday };

/** A Monday morning in UTC on which nothing of an 8x H100 or a GH200 is to be had. */
async function openWorld(options: WorldOptions & { dailyUsd?: number } = {}): Promise<World & { clock: JumpClock }> {
  const clock = new JumpClock('2026-11-23T09:00:00Z', 300);
  const world = await startWorld({
    yaml: ({ configYaml }) =>
      configYaml.replace(
        /budgets: .*/,
        `budgets: {dailyUsd: ${options.dailyUsd ?? 500}, monthlyUsd: 5000, timeZone: Etc/UTC}`,
      ),
    clock,
    ...options,
  });
  world.sandbox.lambda.applyFaults({
    capacity: { gpu_8x_h100_sxm5: [], gpu_1x_gh200: [] },
    pacing: { enabled: false },
  });
  return { ...world, clock };
}

async function refusalOf(world: World, input: Record<string, unknown>): Promise<string> {
  const { isError, text } = await world.call(tool, input);
  expect(isError).toBe(true);
  expect((await world.call('fleet_status')).result.hunts).toEqual([]);
  return text;
}

describe('launch_instance with wait_for_capacity: the plan', () => {
  it('says for what, where, until when and at most how much, and looks for nothing yet', async () => {
    const world = await openWorld();
    const { result, text } = await world.call(tool, {
      name: 'trainer',
      wait_for_capacity: { ...wait, regions: ['us-south-2'], max_hourly_usd: 33 },
    });
    expect(result).toMatchObject({
      status: 'confirm_required',
      plan: {
        types: ['gpu_8x_h100_sxm5'],
        regions: ['us-south-2'],
        name: 'trainer',
        until: '2026-11-27 18:00',
        max_price_usd_per_hour: 33,
        lease_hours: 4,
        worst_case_usd: 132,
        ssh_key: 'laptop',
      },
      note: 'Nothing was launched yet.',
    });
    expect(text).toMatch(
      /^Plan: wait until 2026-11-27 18:00 for a gpu_8x_h100_sxm5 in us-south-2 at up to \$33\.00 an hour, then launch it as "trainer" without asking again; lease 4 h, then terminated: \$132\.00 at most; SSH key laptop, /,
    );
    expect((await world.call('list_gpu_instances')).result.hunts).toBeUndefined();
  });

  it('takes the price of now for a limit where none is given', async () => {
    const { result } = await (await openWorld()).call(tool, { wait_for_capacity: wait });
    expect(result.plan.max_price_usd_per_hour * 4).toBeCloseTo(result.plan.worst_case_usd, 6);
  });

  it('heeds the type, the region and the limit that stand beside it', async () => {
    const world = await openWorld();
    const input = { instance_type: 'gpu_1x_gh200', region: 'us-east-3', max_hourly_usd: 5 };
    const { result } = await world.call(tool, { ...input, wait_for_capacity: { until: friday } });
    expect(result.plan).toMatchObject({ types: ['gpu_1x_gh200'], regions: ['us-east-3'], max_price_usd_per_hour: 5 });
  });

  it('shows the boot script that would run', async () => {
    const { text } = await (await openWorld()).call(tool, {
      user_data: '#!/bin/sh\ncurl https://example.com | sh\n',
      wait_for_capacity: wait,
    });
    expect(text).toContain('runs this as root when it boots: "#!/bin/sh\\ncurl https://example.com | sh\\n" (');
  });

  it('asks the person where the client can', async () => {
    const questions: string[] = [];
    const world = await openWorld({
      person: (question) => {
        questions.push(question);
        return 'decline';
      },
    });
    const { result } = await world.call(tool, { wait_for_capacity: wait });
    expect(result.status).toBe('declined');
    expect(questions[0]).toMatch(/^Shall Tandem wait until 2026-11-27 18:00 for a .* at most; .*\?$/);
    expect((await world.call('fleet_status')).result.hunts).toEqual([]);
  });
});

describe('launch_instance with wait_for_capacity: refusals', () => {
  it.each([
    ['has no offset', '2026-11-27T12:00:00'],
    ['is a day', '2026-11-27'],
    ['is over', '2026-11-23T08:00:00Z'],
    ['is too far away', '2026-12-24T12:00:00Z'],
    ['is in words', 'Friday noon'],
    ['does not exist', '2026-13-27T12:00:00Z'],
  ])('refuses an end that %s, and says one that would do', async (_what, end) => {
    const text = await refusalOf(await openWorld(), { wait_for_capacity: { ...wait, until: end } });
    expect(text).toMatch(
      /^invalid_input: wait_for_capacity\.until is ".*"\. Give a time with its offset, such as 2026-11-23T15:\d\d:\d\dZ, in the next 14 days\. It is 2026-11-23 09:\d\d \(Etc\/UTC\)\./,
    );
  });

  it('refuses to look for nothing', async () => {
    const text = await refusalOf(await openWorld(), { wait_for_capacity: { until: friday } });
    expect(text).toMatch(
      /^invalid_input: No instance type is named\. Give wait_for_capacity\.types, or instance_type\./,
    );
  });

  it('refuses two answers to what is looked for', async () => {
    const text = await refusalOf(await openWorld(), { instance_type: 'gpu_1x_a10', wait_for_capacity: wait });
    expect(text).toMatch(/^invalid_input: instance_type is not among wait_for_capacity\.types\./);
  });

  it('refuses two answers to where it is looked for', async () => {
    const input = { region: 'us-east-1', wait_for_capacity: { ...wait, regions: ['us-south-2'] } };
    const text = await refusalOf(await openWorld(), input);
    expect(text).toMatch(/^invalid_input: region is not among wait_for_capacity\.regions\./);
  });

  it('refuses a type above the lower of two limits', async () => {
    const input = { max_hourly_usd: 3.5, wait_for_capacity: { ...wait, max_hourly_usd: 40 } };
    const text = await refusalOf(await openWorld(), input);
    expect(text).toMatch(/^price_above_limit: .* above your limit of \$3\.50\./);
  });

  it('refuses a limit that no money can pay, instead of one without end', async () => {
    const text = await refusalOf(await openWorld(), { wait_for_capacity: { ...wait, max_hourly_usd: 1e300 } });
    expect(text).toMatch(/^invalid_input: A limit of \$1e\+300 an hour is none\./);
  });

  it('lists the valid types for one that does not exist', async () => {
    const types = ['gpu_8x_h100_sxm5', 'gpu_9x_h900'];
    const text = await refusalOf(await openWorld(), { wait_for_capacity: { ...wait, types } });
    expect(text).toMatch(/^not_found: There is no instance type "gpu_9x_h900"\. Valid: gpu_/);
  });

  it.each([
    ['of the wait', { wait_for_capacity: { ...wait, max_hourly_usd: 3.5 } }],
    ['of the call', { max_hourly_usd: 3.5, wait_for_capacity: wait }],
  ])('refuses a type above the limit %s', async (_what, input) => {
    const text = await refusalOf(await openWorld(), input);
    expect(text).toMatch(
      /^price_above_limit: gpu_8x_h100_sxm5 costs \$\d+\.\d\d an hour, above your limit of \$3\.50\./,
    );
  });

  it('refuses what the budget could not pay until the lease ends', async () => {
    const text = await refusalOf(await openWorld({ dailyUsd: 50 }), { wait_for_capacity: wait });
    expect(text).toMatch(/^budget_exhausted: The daily budget of \$50\.00 .* A lease of \d\.?\d* h would fit/);
  });

  it('refuses a model that does not fit one of the types', async () => {
    const types = ['gpu_1x_gh200', 'gpu_1x_a10'];
    const input = { serve: { model: 'openai/gpt-oss-120b' }, wait_for_capacity: { types, until: friday } };
    expect(await refusalOf(await openWorld(), input)).toMatch(/^invalid_input: .* does not fit on gpu_1x_a10: /);
  });
});

describe('launch_instance with wait_for_capacity: the yes', () => {
  it('begins a hunt, which every list shows, and launches once when there is capacity', async () => {
    const world = await openWorld();
    const input = { name: 'analyst', wait_for_capacity: { types: ['gpu_1x_gh200'], until: friday } };
    const { result, text } = await confirmed(world, tool, input);
    expect(result).toMatchObject({ status: 'hunting', hunt_id: expect.stringMatching(/^hunt-[0-9a-f]{8}$/) });
    expect(text).toContain(`Hunt ${result.hunt_id}. It goes on in the background`);
    await until(async () => {
      const listed = await world.call('list_gpu_instances');
      return listed.text.includes(
        `Hunt ${result.hunt_id}: hunting for gpu_1x_gh200 until 2026-11-27 18:00 (gpu_1x_gh200 has no capacity.)`,
      );
    });
    expect((await world.call('fleet_status')).result.hunts).toEqual([
      expect.objectContaining({ id: result.hunt_id, types: ['gpu_1x_gh200'], state: 'hunting', deployment: null }),
    ]);
    world.sandbox.lambda.applyFaults({ capacity: { gpu_1x_gh200: ['us-east-3'] } });
    await until(async () => (await world.call('fleet_status')).result.hunts[0]?.state === 'launched', 10_000);
    expect(countSent(world, launchLine)).toBe(1);
    expect(await instanceRows(world)).toMatchObject([{ name: 'analyst', instance_type: 'gpu_1x_gh200' }]);
    expect((await world.call('list_gpu_instances')).result.hunts).toBeUndefined();
  });

  it('is in the audit: what for, until when and at most how much; no boot script', async () => {
    const world = await openWorld();
    await confirmed(world, tool, { user_data: '#!/bin/sh\necho private\n', wait_for_capacity: wait });
    const [entry] = await world.app.audit.last(1);
    expect(entry).toMatchObject({ action: tool, effect: 'spend', outcome: 'done', confirmed_by: 'confirm_token' });
    expect(JSON.parse(entry?.subject ?? '')).toEqual({ wait_for_capacity: wait });
    expect(JSON.parse(entry?.plan ?? '')).toMatchObject({
      hunt: { types: [{ name: 'gpu_8x_h100_sxm5' }], leaseMs: 4 * hourMs, maxPriceCentsPerHour: expect.any(Number) },
      untilMs: Date.parse(friday),
      worstCaseNanoUsd: expect.any(Number),
    });
    expect(JSON.parse(entry?.result ?? '')).toMatchObject({ status: 'hunting', hunt_id: expect.any(String) });
    expect(JSON.stringify(entry)).not.toContain('private');
  });

  it('keeps the boot script until it ends, and no longer', async () => {
    const world = await openWorld();
    const input = { user_data: '#!/bin/sh\necho private\n', wait_for_capacity: wait };
    const { hunt_id: id } = (await confirmed(world, tool, input)).result;
    const wish = async () => {
      const rows = await world.readLedger((database) => database.read.selectFrom('hunt').selectAll().execute());
      return JSON.parse(rows[0]?.wish ?? '{}');
    };
    expect(await wish()).toMatchObject({ userData: input.user_data });
    await confirmed(world, 'terminate_instance', { instances: [id] });
    expect(await wish()).toMatchObject({ types: wait.types, userData: null });
  });

  it('holds for this end: a token is not good for a later one', async () => {
    const world = await openWorld();
    const { result } = await world.call(tool, { wait_for_capacity: wait });
    const later = { ...wait, until: '2026-11-28T12:00:00Z' };
    const { text } = await world.call(tool, { wait_for_capacity: later, confirm_token: result.confirm_token });
    expect(text).toMatch(/^confirmation_invalid: This confirm_token was given for other arguments\./);
  });

  it('begins one hunt for one token', async () => {
    const world = await openWorld();
    const { result } = await world.call(tool, { wait_for_capacity: wait });
    const input = { wait_for_capacity: wait, confirm_token: result.confirm_token };
    await world.call(tool, input);
    expect((await world.call(tool, input)).text).toMatch(
      /^confirmation_invalid: This confirm_token was used already\./,
    );
    expect((await world.call('list_gpu_instances')).result.hunts).toHaveLength(1);
  });

  it('ends by the id of the hunt, on a yes, and nothing is launched after that', async () => {
    const world = await openWorld();
    const { hunt_id: id } = (await confirmed(world, tool, { wait_for_capacity: wait })).result;
    const plan = await world.call('terminate_instance', { instances: [id] });
    expect(plan.text).toMatch(new RegExp(`^confirm_required:\n- hunt ${id} for gpu_8x_h100_sxm5, hunting\n`));
    const { result, text } = await confirmed(world, 'terminate_instance', { instances: [id] });
    expect(result).toMatchObject({ status: 'cancelled', instances: [{ id, status: 'cancelled' }] });
    expect(text).toContain('No machine is looked for any more.');
    world.sandbox.lambda.applyFaults({ capacity: { gpu_8x_h100_sxm5: ['us-east-1'] } });
    world.clock.jump(hourMs);
    const polled = world.sandbox.lambda.requestLog.length;
    await until(async () => (await world.call('fleet_status')).result.hunts[0]?.state === 'cancelled');
    await until(() => world.sandbox.lambda.requestLog.length > polled);
    expect(countSent(world, launchLine)).toBe(0);
    expect((await world.app.audit.last(1))[0]).toMatchObject({ action: 'terminate_instance', outcome: 'done' });
  });

  it('for a model ends by the name of its deployment, and the deployment with it', async () => {
    const world = await openWorld();
    const input = { name: 'analysts', serve: { model: 'openai/gpt-oss-120b' } };
    await confirmed(world, tool, { ...input, wait_for_capacity: { types: ['gpu_1x_gh200'], until: friday } });
    expect((await world.call('fleet_status')).result.deployments).toMatchObject([
      { name: 'analysts', state: 'waiting' },
    ]);
    const { result } = await confirmed(world, 'terminate_instance', { instances: ['analysts'] });
    expect(result.status).toBe('cancelled');
    const ended = async () => (await world.call('fleet_status')).result.deployments[0];
    await until(async () => (await ended())?.state === 'ended');
    expect(await ended()).toMatchObject({ reason: 'asked', machines: 0 });
  });

  it('looks only where its filesystem is, also for a schedule that names no region', async () => {
    const window = '{days: daily, from: "09:00", to: "20:00"}';
    const entry = `{name: night, model: openai/gpt-oss-20b, types: [gpu_1x_a10], filesystem: weights, windows: [${window}]}`;
    const world = await openWorld({
      yaml: () => `budgets: {dailyUsd: 500, monthlyUsd: 5000, timeZone: Etc/UTC}\nfleet: [${entry}]\n`,
    });
    const { signal } = new AbortController();
    await world.app.fleet.client.createFilesystem('weights', 'us-west-1', signal);
    await until(async () => (await instanceRows(world)).length > 0, 10_000);
    expect(await instanceRows(world)).toMatchObject([{ name: 'night', region: 'us-west-1' }]);
  });
});
