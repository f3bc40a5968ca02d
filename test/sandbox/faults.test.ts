import { describe, expect, it } from 'vitest';
import { openStillSandbox } from '../support/machines.ts';

const bootMs = 240_000;
const minuteMs = 60_000;
const terminatingMs = 40_000;

/** One active machine with a name and a tag, and what the API and the bill say of it. */
async function openWithMachine() {
  const opened = await openStillSandbox();
  const { sandbox, clock, callApi, launch } = opened;
  const tags = [{ key: 'managed-by', value: 'tandem' }];
  const id = await launch(undefined, { name: 'mine', tags });
  clock.advance(bootMs);
  const listed = async (): Promise<string[]> =>
    (await callApi('GET /instances')).body.data.map((instance: { id: string }) => instance.id);
  const truth = () => sandbox.lambda.instances().find((machine) => machine.id === id);
  const minutes = () => sandbox.lambda.bill().instances.find((line) => line.id === id)?.minutes;
  return { ...opened, id, listed, truth, minutes };
}

describe('an outage of the API', () => {
  it('answers everything with a page of its proxy until it is over', async () => {
    const { sandbox, callApi, control } = await openWithMachine();
    await control('/lambda', { apiDown: true });
    for (const line of ['GET /instances', 'GET /instance-types', 'POST /instance-operations/launch']) {
      expect(await callApi(line, line.startsWith('POST') ? {} : undefined)).toMatchObject({
        status: 503,
        text: expect.stringContaining('<!DOCTYPE html>'),
      });
    }
    expect(sandbox.lambda.requestLog.at(-1)).toMatchObject({ path: '/instance-operations/launch', status: 503 });
    await control('/lambda', { apiDown: false });
    expect(await callApi('GET /instances')).toMatchObject({ status: 200 });
  });

  it('can end at a moment', async () => {
    const { sandbox, clock, callApi } = await openWithMachine();
    sandbox.lambda.faults.apiDownUntilMs = clock.nowMs() + minuteMs;
    clock.advance(minuteMs - 1);
    expect(await callApi('GET /instances')).toMatchObject({ status: 503 });
    clock.advance(1);
    expect(await callApi('GET /instances')).toMatchObject({ status: 200 });
  });

  it('leaves scripted answers for later, and machines alone', async () => {
    const { sandbox, callApi, truth } = await openWithMachine();
    sandbox.lambda.applyFaults({ apiDown: true, nextResponses: [{ match: 'GET /instances', status: 418 }] });
    await callApi('GET /instances');
    sandbox.lambda.applyFaults({ apiDown: false });
    expect(await callApi('GET /instances')).toMatchObject({ status: 418 });
    expect(truth()).toMatchObject({ status: 'active' });
  });
});

describe('a machine that vanishes', () => {
  it('is in no list any more, and unknown to every operation', async () => {
    const { sandbox, id, callApi, listed } = await openWithMachine();
    sandbox.lambda.vanish(id);
    expect(await listed()).not.toContain(id);
    expect(await callApi(`GET /instances/${id}`)).toMatchObject({ status: 404 });
    for (const operation of ['restart', 'terminate']) {
      expect(await callApi(`POST /instance-operations/${operation}`, { instance_ids: [id] })).toMatchObject({
        status: 404,
      });
    }
  });

  it('is billed up to then, and remembered by the truth', async () => {
    const { sandbox, clock, id, truth, minutes } = await openWithMachine();
    clock.advance(10 * minuteMs);
    const vanishedAtMs = clock.nowMs();
    sandbox.lambda.vanish(id);
    clock.advance(60 * minuteMs);
    expect(minutes()).toBe(10);
    expect(truth()).toMatchObject({
      status: 'terminated',
      isVisible: false,
      terminatedAtMs: vanishedAtMs,
      terminatedBy: 'nobody',
    });
  });

  it('costs nothing when it never became active', async () => {
    const { sandbox, clock, launch } = await openStillSandbox();
    const id = await launch();
    clock.advance(bootMs - 1);
    sandbox.lambda.vanish(id);
    clock.advance(60 * minuteMs);
    expect(sandbox.lambda.bill().instances.at(-1)).toEqual({ id, minutes: 0, cents: 0 });
  });

  it('gives its place back', async () => {
    const { sandbox, id, launch } = await openWithMachine();
    sandbox.lambda.applyFaults({ quotaInstances: 2 });
    await expect(launch()).rejects.toThrow('quota');
    sandbox.lambda.vanish(id);
    expect(await launch()).toMatch(/^[0-9a-f]{32}$/);
  });

  it('can do so while it is terminating', async () => {
    const { sandbox, clock, id, callApi, listed, truth, minutes } = await openWithMachine();
    clock.advance(10 * minuteMs);
    await callApi('POST /instance-operations/terminate', { instance_ids: [id] });
    clock.advance(1);
    sandbox.lambda.vanish(id);
    clock.advance(terminatingMs);
    expect(await listed()).not.toContain(id);
    expect(minutes()).toBe(11);
    expect(truth()).toMatchObject({ terminatedBy: 'api' });
  });

  it('keeps the end of its bill when it had terminated already', async () => {
    const { sandbox, clock, id, callApi, listed, minutes } = await openWithMachine();
    await callApi('POST /instance-operations/terminate', { instance_ids: [id] });
    clock.advance(terminatingMs + minuteMs);
    expect(await listed()).toContain(id);
    const before = minutes();
    sandbox.lambda.vanish(id);
    expect(await listed()).not.toContain(id);
    expect(minutes()).toBe(before);
  });

  it('is named by id or by name over the control surface', async () => {
    const { id, control, launch, listed } = await openWithMachine();
    const other = await launch();
    expect(await control('/lambda', { vanish: ['mine', other] })).toMatchObject({ status: 200 });
    const left = await listed();
    expect(left).not.toContain(id);
    expect(left).not.toContain(other);
    expect(left).toHaveLength(1);
  });

  it('must exist, or nothing of the whole patch happens', async () => {
    const { sandbox, id, control, listed } = await openWithMachine();
    const answer = await control('/lambda', { vanish: [id, 'nobody'], accountInactive: true });
    expect(answer).toMatchObject({ status: 400, body: { error: expect.stringContaining('"nobody"') } });
    expect(sandbox.lambda.faults.accountInactive).toBe(false);
    expect(await listed()).toContain(id);
  });
});

describe('somebody else', () => {
  it('can terminate a machine, as if in the console', async () => {
    const { sandbox, clock, id, callApi, truth, minutes } = await openWithMachine();
    clock.advance(10 * minuteMs);
    sandbox.lambda.terminateByOther(id);
    expect((await callApi(`GET /instances/${id}`)).body.data.status).toBe('terminating');
    clock.advance(terminatingMs);
    expect((await callApi(`GET /instances/${id}`)).body.data.status).toBe('terminated');
    expect(truth()).toMatchObject({ terminatedBy: 'colleague' });
    expect(minutes()).toBe(11);
    const events = (await callApi('GET /audit-events?resource_type=cloud.instance')).body.data;
    expect(events.at(-1)).toMatchObject({ action: 'terminated', actor_email: 'colleague@sandbox.invalid' });
  });

  it('comes too late for a machine that is terminating already', async () => {
    const { clock, id, callApi, control, truth } = await openWithMachine();
    const requestedAtMs = clock.nowMs();
    await callApi('POST /instance-operations/terminate', { instance_ids: [id] });
    clock.advance(1);
    expect(await control('/lambda', { terminateByOther: [id] })).toMatchObject({ status: 200 });
    expect(truth()).toMatchObject({ terminateRequestedAtMs: requestedAtMs, terminatedBy: 'api' });
  });
});

describe('capacity', () => {
  it('comes back at a moment', async () => {
    const { sandbox, clock, callApi, launch } = await openStillSandbox();
    sandbox.lambda.applyFaults({ soldOutUntilMs: { gpu_1x_a10: clock.nowMs() + minuteMs } });
    const regions = async () =>
      (await callApi('GET /instance-types')).body.data.gpu_1x_a10.regions_with_capacity_available;
    clock.advance(minuteMs - 1);
    expect(await regions()).toEqual([]);
    await expect(launch()).rejects.toThrow('insufficient-capacity');
    clock.advance(1);
    expect(await regions()).toHaveLength(2);
    expect(await launch()).toMatch(/^[0-9a-f]{32}$/);
  });

  it('of the start is what a reset goes back to', async () => {
    const { sandbox, control, launch } = await openStillSandbox({ capacity: { gpu_1x_a10: ['us-south-1'] } });
    sandbox.lambda.applyFaults({ capacity: {} });
    await control('/reset', {});
    sandbox.lambda.applyFaults({ pacing: { enabled: false } });
    await expect(launch()).rejects.toThrow('insufficient-capacity');
    expect(await launch(undefined, { region_name: 'us-south-1' })).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe('tags that cannot be changed', () => {
  it('are refused in an update, which changes nothing then; names are not', async () => {
    const { sandbox, id, callApi, truth } = await openWithMachine();
    sandbox.lambda.faults.tagsImmutable = true;
    const refused = await callApi(`POST /instances/${id}`, { name: 'other', tags: [] });
    expect(refused).toMatchObject({ status: 400, body: { error: { code: 'global/invalid-parameters' } } });
    expect(truth()).toMatchObject({ name: 'mine', tags: [{ key: 'managed-by', value: 'tandem' }] });
    expect(await callApi(`POST /instances/${id}`, { name: 'other' })).toMatchObject({ status: 200 });
  });
});
