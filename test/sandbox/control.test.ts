import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { startSandbox } from '../../src/sandbox/index.ts';
import { askMachine, chat, openStillSandbox, serveConfig } from '../support/machines.ts';

const bootAndLagMs = 280_000;

function send(url: string, body: string): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
}

describe('the receiver of notices', () => {
  it('keeps what it gets, with the time of the sandbox', async () => {
    const { sandbox, clock, control } = await openStillSandbox();
    expect((await send(sandbox.webhookUrl, '{"kind": "ready"}')).status).toBe(200);
    clock.advance(1_000);
    await send(sandbox.webhookUrl, 'not JSON');
    const kept = [
      { atMs: clock.nowMs() - 1_000, body: { kind: 'ready' } },
      { atMs: clock.nowMs(), body: 'not JSON' },
    ];
    expect(sandbox.notices).toEqual(kept);
    expect((await control('/notices')).body).toEqual({ notices: kept });
  });

  it('fails as often as it was told to, and keeps nothing of that', async () => {
    const { sandbox, control } = await openStillSandbox();
    expect((await control('/webhook', { fail: 2 })).body).toEqual({ fail: 2 });
    const statuses: number[] = [];
    for (const attempt of [1, 2, 3]) statuses.push((await send(sandbox.webhookUrl, `{"n": ${attempt}}`)).status);
    expect(statuses).toEqual([500, 500, 200]);
    expect(sandbox.notices).toMatchObject([{ body: { n: 3 } }]);
  });

  it('refuses faults that it does not know', async () => {
    const { control } = await openStillSandbox();
    expect(await control('/webhook', { fail: -1 })).toMatchObject({ status: 400 });
    expect(await control('/webhook', { explode: true })).toMatchObject({ status: 400 });
  });
});

describe('the clock of the sandbox', () => {
  it('is set forward, and machines are as they are at that time', async () => {
    const { clock, sandbox, launch, control } = await openStillSandbox();
    const id = await launch(serveConfig(), { name: 'mine' });
    const nowMs = clock.nowMs() + bootAndLagMs;
    expect(await control('/clock', { advanceMs: bootAndLagMs })).toEqual({ status: 200, body: { nowMs } });
    expect(clock.nowMs()).toBe(nowMs);
    expect(await askMachine(sandbox, id, '/health')).toMatchObject({ status: 200 });
  });

  it.each([{ advanceMs: -1 }, { advanceMs: 0.5 }, { advanceMs: 1e12 }, {}, { nowMs: 1 }])(
    'is not moved by %o',
    async (body) => {
      const { clock, control } = await openStillSandbox();
      const beforeMs = clock.nowMs();
      expect(await control('/clock', body)).toMatchObject({ status: 400 });
      expect(clock.nowMs()).toBe(beforeMs);
    },
  );

  it('cannot be moved where it is the real one', async () => {
    const sandbox = await startSandbox({ clock: systemClock });
    onTestFinished(() => sandbox.close());
    const response = await send(`${sandbox.controlUrl}/clock`, '{"advanceMs": 1}');
    expect(response.status).toBe(400);
    expect(await response.text()).toContain('cannot be moved');
  });
});

describe('the control surface', () => {
  it('shows machines that serve, the time and the receiver', async () => {
    const { sandbox, clock, launch, control } = await openStillSandbox();
    const id = await launch(serveConfig(), { name: 'mine' });
    await launch();
    const machine = { id, name: 'mine', model: 'box', behaviour: null };
    expect((await control('')).body).toMatchObject({
      nowMs: clock.nowMs(),
      machines: [{ ...machine, answering: false }],
      webhook: { fail: 0, notices: 0 },
      lambda: { serving: { lagMs: 40_000, dead: false, diesAfterMs: null }, apiDown: false, tagsImmutable: false },
    });
    clock.advance(bootAndLagMs);
    await send(sandbox.webhookUrl, '{}');
    expect((await control('')).body).toMatchObject({
      machines: [{ ...machine, answering: true }],
      webhook: { fail: 0, notices: 1 },
    });
  });

  it('puts a behaviour over the server of one machine, by id or name, until reset', async () => {
    const { sandbox, clock, launch, control } = await openStillSandbox();
    const id = await launch(serveConfig(), { name: 'mine' });
    clock.advance(bootAndLagMs);
    const status = async () => (await askMachine(sandbox, id, '/v1/chat/completions', { body: chat('box') }))?.status;
    for (const machine of [id, 'mine']) {
      const order = { machine, behaviour: 'error-500' };
      expect(await control('/machines', order)).toEqual({ status: 200, body: order });
      expect(await status()).toBe(500);
      await control('/reset', {});
      expect(await status()).toBe(200);
    }
  });

  it('knows no behaviour for a machine without a model server', async () => {
    const { launch, control } = await openStillSandbox();
    await launch(undefined, { name: 'plain' });
    expect(await control('/machines', { machine: 'plain', behaviour: 'echo' })).toMatchObject({
      status: 400,
      body: { error: expect.stringContaining('"plain"') },
    });
  });

  it('forgets faults of the receiver on reset, and keeps its notices', async () => {
    const { sandbox, control } = await openStillSandbox();
    await send(sandbox.webhookUrl, '{}');
    await control('/webhook', { fail: 3 });
    await control('/reset', {});
    expect((await send(sandbox.webhookUrl, '{}')).status).toBe(200);
    expect(sandbox.notices).toHaveLength(2);
  });

  it('starts with the budget that it is given', async () => {
    const { sandbox } = await openStillSandbox({ budget: { dailyUsd: 7, monthlyUsd: 70 } });
    expect(sandbox.configYaml).toContain('budgets: {dailyUsd: 7, monthlyUsd: 70}');
  });
});
