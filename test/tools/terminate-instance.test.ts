import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { acceleratedClock } from '../../src/clock.ts';
import { until } from '../lambda/cloud.ts';
import { confirmed, countSent, instanceRows, terminateLine } from '../lambda/steps.ts';
import { type CallResult, startWorld as start, type World, type WorldOptions } from '../support/world.ts';

const tool = 'terminate_instance';

/** Machines take ten minutes to end, so that a slow computer, too, sees them end. */
async function startWorld(options?: WorldOptions): Promise<World> {
  const world = await start(options);
  world.sandbox.lambda.applyFaults({ terminate: { durationMs: 600_000 } });
  return world;
}

/** A machine launched by Tandem, active by now. Pacing of launches is not what these tests are about. */
async function launchActive(world: World, name: string): Promise<string> {
  world.sandbox.lambda.applyFaults({ boot: { durationMs: 30_000 }, pacing: { launchIntervalMs: 1_000 } });
  const { result } = await confirmed(world, 'launch_instance', {
    instance_type: 'gpu_1x_a10',
    region: 'us-east-1',
    name,
  });
  await until(async () => (await instanceRows(world)).find((row) => row.name === name)?.status === 'active');
  return result.instance_id;
}

/** A machine that somebody else launched an hour ago. */
function addForeign({ sandbox, clock }: World, name: string): string {
  return sandbox.lambda.addInstance({ name, active: true, launchedAtMs: clock.nowMs() - 3_600_000 });
}

function truth({ sandbox }: World, id: string) {
  return sandbox.lambda.instances().find((instance) => instance.id === id);
}

async function planFor(world: World, instances: string[]): Promise<CallResult> {
  const plan = await world.call(tool, { instances });
  expect(plan.text).toMatch(/^confirm_required:/);
  return plan;
}

describe('terminate_instance: the plan', () => {
  it('shows what would be ended, how old it is and what it has cost, and ends nothing', async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    await world.clock.sleep(3 * 60_000);
    const { result } = await planFor(world, ['box']);
    expect(result).toEqual({
      status: 'confirm_required',
      instances: [
        {
          id,
          name: 'box',
          instance_type: 'gpu_1x_a10',
          region: 'us-east-1',
          status: 'active',
          ip: truth(world, id)?.ip,
          age_seconds: expect.any(Number),
          price_usd_per_hour: 1.29,
          cost_so_far_usd: expect.any(Number),
          cost_upper_bound_usd: expect.any(Number),
          endpoint: null,
          managed: true,
          lease_ends_at: expect.any(String),
          lease_left_seconds: expect.any(Number),
          overdue: false,
        },
      ],
      note: 'Nothing was terminated yet.',
      confirm_token: expect.any(String),
    });
    const [shown] = result.instances;
    expect(shown.age_seconds).toBeGreaterThanOrEqual(210);
    expect(shown.cost_so_far_usd).toBeGreaterThanOrEqual((3 * 1.29) / 60);
    expect(shown.cost_upper_bound_usd).toBeGreaterThanOrEqual(shown.cost_so_far_usd);
    expect(countSent(world, terminateLine)).toBe(0);
  });

  it('says the same as text', async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    const { result, text } = await planFor(world, ['box']);
    for (const fact of [
      'box',
      id,
      'gpu_1x_a10',
      'us-east-1',
      'active',
      'Nothing was terminated yet.',
      result.confirm_token,
    ])
      expect(text).toContain(fact);
    expect(text).toMatch(/age \d+ (s|min), cost so far \$0\.\d+\)/);
  });

  it('says of a machine that somebody else launched that its age and cost are unknown', async () => {
    const { result, text } = await planFor(await startWorld(), ['sandbox-box']);
    expect(result.instances).toMatchObject([
      { name: 'sandbox-box', managed: false, age_seconds: null, cost_so_far_usd: null, cost_upper_bound_usd: null },
    ]);
    expect(text).toContain('age unknown, cost so far unknown, not launched by Tandem');
  });

  it('counts a machine that is named twice, by name and by id, as one', async () => {
    const world = await startWorld();
    const id = addForeign(world, 'box');
    const { result } = await planFor(world, ['box', id, 'box']);
    expect(result.instances).toHaveLength(1);
  });

  it('lists what there is when a machine is not known, and takes none of the others', async () => {
    const world = await startWorld();
    const id = addForeign(world, 'box');
    const { isError, text } = await world.call(tool, { instances: ['box', 'bux'] });
    expect(isError).toBe(true);
    expect(text).toMatch(
      /^not_found: There is no instance "bux"\. There are: sandbox-box \([0-9a-f]{32}\), box \([0-9a-f]{32}\)\.$/,
    );
    expect(text).toContain(id);
  });

  it('asks for an id when two machines have the same name', async () => {
    const world = await startWorld();
    const ids = [addForeign(world, 'twin'), addForeign(world, 'twin')];
    const { text } = await world.call(tool, { instances: ['twin'] });
    expect(text).toBe(`invalid_input: 2 instances are called "twin". Use an id: ${ids.join(', ')}.`);
    expect((await planFor(world, [ids[1] ?? ''])).result.instances).toMatchObject([{ id: ids[1] }]);
  });

  it('does not offer what is terminated already', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    await confirmed(world, tool, { instances: ['sandbox-box'] });
    expect((await world.call(tool, { instances: ['sandbox-box'] })).text).toBe(
      'not_found: There is no instance "sandbox-box". The account has no instances.',
    );
  });

  it('needs at least one machine', async () => {
    const { call } = await startWorld();
    expect((await call(tool, { instances: [] })).text).toMatch(/^invalid_input: .*instances: /);
  });
});

describe('terminate_instance: the yes', () => {
  async function expectRefused(world: World, instances: string[], token: string, says: string): Promise<void> {
    const { isError, text } = await world.call(tool, { instances, confirm_token: token });
    expect(isError).toBe(true);
    expect(text).toContain(`confirmation_invalid: This confirm_token ${says}. Nothing was done.`);
    expect(countSent(world, terminateLine)).toBe(0);
  }

  it('does not hold for another machine', async () => {
    const world = await startWorld();
    addForeign(world, 'other');
    const { result } = await planFor(world, ['sandbox-box']);
    await expectRefused(world, ['other'], result.confirm_token, 'was given for other arguments');
  });

  it('does not hold for one more machine', async () => {
    const world = await startWorld();
    addForeign(world, 'other');
    const { result } = await planFor(world, ['sandbox-box']);
    await expectRefused(world, ['sandbox-box', 'other'], result.confirm_token, 'was given for other arguments');
  });

  it('does not hold for a new machine that has the old name', async () => {
    const world = await startWorld();
    const old = addForeign(world, 'box');
    const { result } = await planFor(world, ['box']);
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    await world.app.fleet.client.terminate([old], new AbortController().signal);
    addForeign(world, 'box');
    const before = countSent(world, terminateLine);
    const { text } = await world.call(tool, { instances: ['box'], confirm_token: result.confirm_token });
    expect(text).toContain('was given for other arguments');
    expect(countSent(world, terminateLine)).toBe(before);
  });

  it('holds for the same machines in other words and another order', async () => {
    const world = await startWorld();
    const ids = [addForeign(world, 'one'), addForeign(world, 'two')];
    const { result } = await planFor(world, ['one', 'two']);
    const done = await world.call(tool, { instances: ids.toReversed(), confirm_token: result.confirm_token });
    expect(done.result.status).toBe('terminating');
    for (const id of ids) expect(truth(world, id)?.terminateRequestedAtMs).not.toBeNull();
  });

  it('is not the yes to a launch', async () => {
    const world = await startWorld();
    const { result } = await world.call('launch_instance', { instance_type: 'gpu_1x_a10' });
    await expectRefused(world, ['sandbox-box'], result.confirm_token, 'is not known here');
  });

  it('is good once', async () => {
    const world = await startWorld();
    const { result } = await planFor(world, ['sandbox-box']);
    await world.call(tool, { instances: ['sandbox-box'], confirm_token: result.confirm_token });
    const { text } = await world.call(tool, { instances: ['sandbox-box'], confirm_token: result.confirm_token });
    expect(text).toContain('confirmation_invalid: This confirm_token was used already.');
  });

  it('is asked for in the chat where the client can, and then one call is enough', async () => {
    const questions: string[] = [];
    const world = await startWorld({
      person: (question) => {
        questions.push(question);
        return 'accept';
      },
    });
    const { result } = await world.call(tool, { instances: ['sandbox-box'] });
    expect(questions).toEqual([
      expect.stringMatching(
        /^Terminate sandbox-box \(.*gpu_1x_gh200 in us-east-3, active.*\)\? What is on their local disks is lost\.$/,
      ),
    ]);
    expect(result.status).toBe('terminating');
  });

  it.each(['decline', 'cancel'] as const)('is a no when the person says %s', async (answer) => {
    const world = await startWorld({ person: () => answer });
    const { result, text } = await world.call(tool, { instances: ['sandbox-box'] });
    expect(result).toMatchObject({ status: 'declined', instances: [{ name: 'sandbox-box', status: 'active' }] });
    expect(text).toContain('The person declined. Nothing was terminated.');
    expect(countSent(world, terminateLine)).toBe(0);
  });
});

describe('terminate_instance: the end', () => {
  it.each(['name', 'id'])('ends a machine by its %s, for sure', async (by) => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    const { result, text } = await confirmed(world, tool, { instances: [by === 'id' ? id : 'box'] });
    expect(result).toMatchObject({ status: 'terminating', instances: [{ id, name: 'box', status: 'terminating' }] });
    expect(text).toContain('they are going, and no further minutes are counted');
    expect(truth(world, id)?.terminateRequestedAtMs).not.toBeNull();
    expect(countSent(world, terminateLine)).toBe(1);
  });

  it('ends several machines with one request, and leaves the others alone', async () => {
    const world = await startWorld();
    const ids = [addForeign(world, 'one'), addForeign(world, 'two')];
    const { result } = await confirmed(world, tool, { instances: ['one', 'two'] });
    expect(result.instances.map(({ id, status }: { id: string; status: string }) => [id, status])).toEqual(
      ids.map((id) => [id, 'terminating']),
    );
    expect(countSent(world, terminateLine)).toBe(1);
    expect(world.sandbox.lambda.instances().find(({ name }) => name === 'sandbox-box')?.status).toBe('active');
  });

  it('says that a machine is terminated when it is gone already', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    expect((await confirmed(world, tool, { instances: ['sandbox-box'] })).result).toMatchObject({
      status: 'terminated',
    });
  });

  it('ends a machine that is still booting', async () => {
    const world = await startWorld();
    const { result } = await confirmed(world, 'launch_instance', { instance_type: 'gpu_1x_a10', name: 'young' });
    expect((await confirmed(world, tool, { instances: ['young'] })).result.status).toBe('terminating');
    expect(truth(world, result.instance_id)?.terminateRequestedAtMs).not.toBeNull();
    expect(await instanceRows(world)).toMatchObject([{ first_active_at_ms: null }]);
  });

  it('looks into the list when the answer leaves the machine out', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { omitFromAnswerTimes: 1 } });
    expect((await confirmed(world, tool, { instances: ['sandbox-box'] })).result.status).toBe('terminating');
    expect(countSent(world, terminateLine)).toBe(1);
  });

  it.each([
    { how: 'an HTTP 500', answer: { status: 500 } },
    { how: 'an HTTP 429', answer: { status: 429 } },
    { how: 'dropped', answer: { dropConnection: true } },
    { how: 'an internal error as HTTP 409', answer: { status: 409, code: 'global/internal-error' } },
  ])('looks into the list when the answer is $how', async ({ answer }) => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: terminateLine, afterCommit: true, ...answer }] });
    expect((await confirmed(world, tool, { instances: ['sandbox-box'] })).result.status).toBe('terminating');
    expect(countSent(world, terminateLine)).toBe(1);
  });

  it('asks again when nothing came of the first request', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: terminateLine, status: 503 }] });
    expect((await confirmed(world, tool, { instances: ['sandbox-box'] })).result.status).toBe('terminating');
    expect(countSent(world, terminateLine)).toBe(2);
  });

  it('asks again when the first request was answered well and forgotten', async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    world.sandbox.lambda.applyFaults({ terminate: { ignoreTimes: 1 } });
    expect((await confirmed(world, tool, { instances: ['box'] })).result.status).toBe('terminating');
    expect(truth(world, id)?.terminateRequestedAtMs).not.toBeNull();
    expect(countSent(world, terminateLine)).toBe(2);
  });

  it('asks again only for those that still run', async () => {
    const world = await startWorld();
    const [one, two] = [addForeign(world, 'one'), addForeign(world, 'two')];
    const { result } = await planFor(world, ['one', 'two']);
    world.sandbox.lambda.applyFaults({
      terminate: { durationMs: 0 },
      nextResponses: [{ match: terminateLine, status: 503, delayMs: 150_000 }],
    });
    const ending = world.call(tool, { instances: ['one', 'two'], confirm_token: result.confirm_token });
    await until(() => countSent(world, terminateLine) === 1);
    // Somebody ends one of them in the console; when the answer comes, the API has forgotten it and would refuse its id.
    await world.app.fleet.client.terminate([one], new AbortController().signal);
    expect((await ending).result.instances).toMatchObject([
      { id: one, status: 'terminated' },
      { id: two, status: 'terminated' },
    ]);
  });

  it('says still_running when a machine does not go, and goes on counting its minutes', async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    world.sandbox.lambda.applyFaults({ terminate: { ignoreTimes: 99 } });
    const { result, text } = await confirmed(world, tool, { instances: ['box'] });
    expect(result).toMatchObject({ status: 'still_running', instances: [{ id, status: 'still_running' }] });
    expect(text).toContain(
      "Lambda still shows some of them running, and they are billed: try again, or end them in Lambda's console.",
    );
    expect(countSent(world, terminateLine)).toBe(2);
    expect(await instanceRows(world)).toMatchObject([{ terminate_requested_at_ms: null, gone_at_ms: null }]);
    const cost = async () => (await world.call('list_gpu_instances')).result.instances.at(-1);
    const before = await cost();
    await world.clock.sleep(5 * 60_000);
    const after = await cost();
    expect(after).toMatchObject({ id, status: 'active' });
    expect(after.cost_so_far_usd - before.cost_so_far_usd).toBeGreaterThanOrEqual((4 * 1.29) / 60);
  });

  it('names the worst of several outcomes', async () => {
    const world = await startWorld();
    world.sandbox.lambda.applyFaults({ terminate: { durationMs: 0 } });
    const [one, two] = [addForeign(world, 'one'), addForeign(world, 'two')];
    const { result } = await planFor(world, ['one', 'two']);
    world.sandbox.lambda.applyFaults({ terminate: { ignoreTimes: 99 } });
    const ending = world.call(tool, { instances: ['one', 'two'], confirm_token: result.confirm_token });
    await until(() => countSent(world, terminateLine) === 1);
    world.sandbox.lambda.terminateByOther(one);
    expect((await ending).result).toMatchObject({
      status: 'still_running',
      instances: [
        { id: one, status: 'terminated' },
        { id: two, status: 'still_running' },
      ],
    });
  });

  it('reports a refusal, and goes on counting', async () => {
    const world = await startWorld();
    await launchActive(world, 'box');
    world.sandbox.lambda.applyFaults({
      nextResponses: [{ match: terminateLine, status: 403, code: 'global/forbidden' }],
    });
    const { isError, text } = await confirmed(world, tool, { instances: ['box'] });
    expect(isError).toBe(true);
    expect(text).toMatch(/^forbidden: .*The key may not do this\.$/);
    expect(countSent(world, terminateLine)).toBe(1);
    expect(await instanceRows(world)).toMatchObject([{ terminate_requested_at_ms: null, gone_at_ms: null }]);
  });

  it('trusts the answer when the list cannot be read afterwards', async () => {
    const world = await startWorld();
    const { result } = await planFor(world, ['sandbox-box']);
    world.sandbox.lambda.applyFaults({
      // The first list is the one that finds the machine.
      nextResponses: [{ match: terminateLine, delayMs: 10_000 }],
    });
    const ending = world.call(tool, { instances: ['sandbox-box'], confirm_token: result.confirm_token });
    await until(() => countSent(world, terminateLine) === 1);
    world.sandbox.lambda.applyFaults({
      nextResponses: [{ match: 'GET /instances', status: 403, body: 'html', times: 9 }],
    });
    expect((await ending).result.status).toBe('terminating');
    expect(countSent(world, terminateLine)).toBe(1);
  });

  it('counts no minutes while it waits for the answer', async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'box');
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: terminateLine, afterCommit: true, delayMs: 60_000 }] });
    await confirmed(world, tool, { instances: ['box'] });
    const [row] = await instanceRows(world);
    expect(row?.terminate_requested_at_ms).toBeLessThanOrEqual(truth(world, id)?.terminateRequestedAtMs ?? 0);
  });

  it('sees in the ledger that the machine is gone, without being asked', async () => {
    const world = await startWorld();
    await launchActive(world, 'box');
    await confirmed(world, tool, { instances: ['box'] });
    await until(async () => (await instanceRows(world))[0]?.gone_at_ms !== null);
    const [row] = await instanceRows(world);
    expect(row?.gone_at_ms).toBeGreaterThan(row?.terminate_requested_at_ms ?? Number.POSITIVE_INFINITY);
  });

  it('has counted what the cloud bills: the estimate to the minute, the upper bound never less', async () => {
    // Slow enough for the seconds between a change and the next look at it to stay seconds.
    const world = await startWorld({ clock: acceleratedClock(120) });
    const { lambda } = world.sandbox;
    lambda.applyFaults({ terminate: { durationMs: 40_000 } });
    const id = await launchActive(world, 'box');
    await world.clock.sleep(2 * 60_000);
    await confirmed(world, tool, { instances: ['box'] });
    await until(async () => (await instanceRows(world))[0]?.gone_at_ms !== null);
    const { gpu } = (await world.call('cost_report', { period: 'today' })).result;
    const billed = lambda.bill().instances.find((line) => line.id === id);
    const [counted] = gpu.instances;
    expect(billed?.minutes).toBeGreaterThanOrEqual(3);
    expect(Math.abs(counted.minutes - (billed?.minutes ?? 0))).toBeLessThanOrEqual(1);
    expect(counted.cost_usd).toBeCloseTo((counted.minutes * 1.29) / 60, 6);
    expect(counted.upper_bound_usd).toBeGreaterThanOrEqual((billed?.cents ?? Number.POSITIVE_INFINITY) / 100);
  });
});

describe('terminate_instance: a ledger that cannot be written', () => {
  it('keeps no machine running', { timeout: 60_000 }, async () => {
    const world = await startWorld();
    const id = await launchActive(world, 'trainer');
    const plan = await planFor(world, [id]);
    await world.readLedger(async ({ read }) => {
      await read.connection().execute(async (connection) => {
        await sql`BEGIN IMMEDIATE`.execute(connection);
        const listed = await world.call('list_gpu_instances');
        expect(listed.result.instances.map(({ name }: { name: string }) => name)).toContain('trainer');
        const done = await world.call(tool, { instances: [id], confirm_token: plan.result.confirm_token });
        expect(done.isError).toBe(false);
        await sql`ROLLBACK`.execute(connection);
      });
    });
    expect(truth(world, id)?.terminateRequestedAtMs).not.toBeNull();
    // And all is well again as soon as the lock is gone.
    expect((await world.call('complete', { prompt: 'Hello', backend: 'serverless' })).isError).toBe(false);
  });
});
