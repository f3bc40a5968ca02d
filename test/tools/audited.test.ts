import { sql } from 'kysely';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/usage/database.ts';
import { confirmed, countSent, launchLine, terminateLine } from '../lambda/steps.ts';
import { holderOf } from '../support/principal.ts';
import { startWorld, type World } from '../support/world.ts';

const a10 = { instance_type: 'gpu_1x_a10', name: 'audited' };
const script = '#cloud-config\nruncmd: [export TOKEN=hunter2-hunter2]';

/** All rows, their JSON read. */
async function trail({ app }: World) {
  const rows = await app.audit.last(100);
  return rows.map(({ subject, plan, result, ...row }) => ({
    ...row,
    subject: JSON.parse(subject),
    plan: plan === null ? null : JSON.parse(plan),
    result: result === null ? null : JSON.parse(result),
  }));
}

/** From now on nothing can be added to the audit (`INSERT`), or nothing in it changed (`UPDATE`). */
async function breakAudit({ home }: World, on: 'INSERT' | 'UPDATE'): Promise<void> {
  const database = await openDatabase(`${home}/tandem.db`);
  await sql
    .raw(`CREATE TRIGGER broken BEFORE ${on} ON audit BEGIN SELECT RAISE(ABORT, 'disk of the audit is full'); END`)
    .execute(database.read);
  await database.close();
}

describe('the audit', () => {
  it('records a launch: who, what, on whose yes, and what came of it', async () => {
    const world = await startWorld();
    const { result } = await confirmed(world, 'launch_instance', { ...a10, user_data: script });
    expect(await trail(world)).toMatchObject([
      { action: 'launch_instance', outcome: 'planned', confirmed_by: 'none', result: { status: 'confirm_required' } },
      {
        principal_id: 'local',
        principal_name: 'local',
        action: 'launch_instance',
        effect: 'spend',
        subject: a10,
        plan: { instanceType: 'gpu_1x_a10', name: 'audited', priceCentsPerHour: 129 },
        confirmed_by: 'confirm_token',
        outcome: 'done',
        result: { status: 'launching', instance_id: result.instance_id },
        closed_at_ms: expect.any(Number),
      },
    ]);
  });

  it('records a termination that the person accepted, under the name of who asked', async () => {
    const world = await startWorld({ person: () => 'accept' });
    const { call } = await world.connectAs(holderOf('operate'));
    await call('terminate_instance', { instances: ['sandbox-box'] });
    const [box] = world.sandbox.lambda.instances();
    expect(await trail(world)).toMatchObject([
      {
        principal_id: 'tok_operate',
        principal_name: 'operate',
        action: 'terminate_instance',
        effect: 'destroy',
        subject: { instances: ['sandbox-box'] },
        plan: [{ id: box?.id, name: 'sandbox-box' }],
        confirmed_by: 'elicitation',
        outcome: 'done',
        result: { instances: [{ id: box?.id }] },
      },
    ]);
  });

  it('records what the person declined', async () => {
    const world = await startWorld({ person: () => 'decline' });
    await world.call('terminate_instance', { instances: ['sandbox-box'] });
    await world.call('launch_instance', a10);
    expect((await trail(world)).map(({ action, outcome, confirmed_by }) => [action, outcome, confirmed_by])).toEqual([
      ['terminate_instance', 'declined', 'none'],
      ['launch_instance', 'declined', 'none'],
    ]);
  });

  it('records what failed, with the code', async () => {
    const world = await startWorld();
    await world.call('terminate_instance', { instances: ['nobody'] });
    await world.call('launch_instance', { ...a10, confirm_token: 'made-up' });
    const { call } = await world.connectAs(holderOf('infer'));
    await call('launch_instance', a10);
    expect((await trail(world)).map(({ outcome }) => outcome)).toEqual([
      'failed:not_found',
      'failed:confirmation_invalid',
      'failed:forbidden',
    ]);
  });

  it('records a prompt by what it cost, without a word of it', async () => {
    const world = await startWorld();
    const { result } = await world.call('complete', { prompt: 'Xylophone quartz', system: 'Zeppelin', max_tokens: 50 });
    const [row] = await trail(world);
    expect(row).toMatchObject({
      action: 'complete',
      effect: 'spend',
      subject: { max_tokens: 50 },
      outcome: 'done',
      result: {
        request_id: result.request_id,
        backend: result.backend,
        model: result.model,
        cost_usd: result.cost_usd,
      },
    });
    expect(JSON.stringify(row)).not.toMatch(/Xylophone|quartz|Zeppelin/);
    expect(JSON.stringify(row)).not.toContain(result.text);
  });

  it('keeps no boot script and no confirm token', async () => {
    const world = await startWorld();
    const input = { ...a10, user_data: script };
    const plan = await world.call('launch_instance', input);
    await world.call('launch_instance', { ...input, confirm_token: plan.result.confirm_token });
    const text = JSON.stringify(await trail(world));
    expect(text).not.toContain('hunter2');
    expect(text).not.toContain(plan.result.confirm_token);
  });

  it('says nothing of calls that only read, or that were never made for want of arguments', async () => {
    const world = await startWorld();
    await world.call('list_gpu_instances');
    await world.call('cost_report');
    await world.call('launch_instance', { colour: 'red' });
    expect(await trail(world)).toEqual([]);
  });

  it('comes before the act: nothing that spends happens when it cannot be recorded', async () => {
    const world = await startWorld({ person: () => 'accept' });
    await breakAudit(world, 'INSERT');
    for (const [tool, input] of Object.entries({
      complete: { prompt: 'Hello' },
      launch_instance: a10,
    }))
      expect(await world.call(tool, input)).toMatchObject({ isError: true });
    expect(world.sandbox.serverless.calls).toEqual([]);
    expect(world.sandbox.lambda.requestLog).toEqual([]);
  });

  it('knows of the yes before the act: a yes that cannot be recorded launches nothing', async () => {
    const world = await startWorld({ person: () => 'accept' });
    await breakAudit(world, 'UPDATE');
    expect(await world.call('launch_instance', a10)).toMatchObject({ isError: true });
    expect(countSent(world, launchLine)).toBe(0);
    expect((await trail(world)).map(({ outcome }) => outcome)).toEqual(['begun']);
  });

  it.each(['INSERT', 'UPDATE'] as const)('keeps no machine running when it cannot be written (%s)', async (change) => {
    const world = await startWorld({ person: () => 'accept' });
    await breakAudit(world, change);
    expect(await world.call('terminate_instance', { instances: ['sandbox-box'] })).toMatchObject({ isError: false });
    expect(countSent(world, terminateLine)).toBe(1);
  });

  it('does not hide an answer whose outcome could not be recorded', async () => {
    const world = await startWorld();
    await breakAudit(world, 'UPDATE');
    expect(await world.call('complete', { prompt: 'Hello' })).toMatchObject({ isError: false });
    expect((await trail(world)).map(({ outcome }) => outcome)).toEqual(['begun']);
  });

  it('cannot be rewritten or shortened', async () => {
    const world = await startWorld();
    await world.call('complete', { prompt: 'Hello' });
    await world.readLedger(async ({ read }) => {
      for (const change of [
        `DELETE FROM audit`,
        `UPDATE audit SET outcome = 'declined'`,
        `UPDATE audit SET principal_id = 'tok_other'`,
      ])
        await expect(sql.raw(change).execute(read)).rejects.toThrow(/never/);
    });
  });
});
