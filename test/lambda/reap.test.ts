import { describe, expect, it } from 'vitest';
import { reap } from '../../src/lambda/reap.ts';
import { createLog } from '../../src/log.ts';
import { Redactor } from '../../src/redactor.ts';
import { openCloud } from './cloud.ts';

const terminateLine = 'POST /instance-operations/terminate';
const hourMs = 3_600_000;
const ours = { key: 'managed-by', value: 'tandem' };

/** An account with machines of all kinds, and no ledger anywhere. */
async function openAccount() {
  const cloud = await openCloud();
  const { addInstance, clock } = cloud;
  cloud.applyFaults({ terminate: { durationMs: 0 }, pacing: { enabled: false } });
  const nowMs = clock.nowMs();
  const cap = (ms: number) => ({ key: 'tandem-lease-cap', value: new Date(ms).toISOString().replace('.000Z', 'Z') });
  const machine = (name: string, tags: { key: string; value: string }[]) => addInstance({ name, active: true, tags });
  const ids = {
    late: machine('late', [ours, cap(nowMs - hourMs)]),
    later: machine('later', [ours, cap(nowMs - 2 * hourMs)]),
    early: machine('early', [ours, cap(nowMs + 24 * hourMs)]),
    capless: machine('capless', [ours]),
    theirs: machine('theirs', [cap(nowMs - hourMs)]),
  };
  const lines: string[] = [];
  return {
    ...cloud,
    ids,
    lines,
    run: (options: { dryRun?: boolean; allManaged?: boolean } = {}) =>
      reap(
        { client: cloud.client, clock, log: createLog('silent', new Redactor()), print: (line) => lines.push(line) },
        { dryRun: false, allManaged: false, ...options },
        new AbortController().signal,
      ),
    running: () =>
      cloud
        .instances()
        .filter(({ status }) => status === 'active')
        .map(({ name }) => name),
  };
}

describe('reap', () => {
  it('ends our machines whose cap has passed, and no other', async () => {
    const { run, running, lines } = await openAccount();
    expect(await run()).toBe(true);
    expect(running()).toEqual(['early', 'capless', 'theirs']);
    expect(lines).toEqual([
      expect.stringMatching(
        /^early \([0-9a-f]{32}, gpu_1x_a10 in us-east-1\): left running, cap 2026-11-24 \d\d:\d\d UTC$/,
      ),
      expect.stringMatching(/^capless \(.*\): left running, no cap in its tags$/),
      expect.stringMatching(/^late \(.*\): terminated, cap 2026-11-23 \d\d:\d\d UTC$/),
      expect.stringMatching(/^later \(.*\): terminated, cap /),
    ]);
  });

  it('ends every machine of ours when told to, and still nothing of others', async () => {
    const { run, running } = await openAccount();
    expect(await run({ allManaged: true })).toBe(true);
    expect(running()).toEqual(['theirs']);
  });

  it('only says what it would do in a dry run, and that there is something to do', async () => {
    const { run, running, lines, sent } = await openAccount();
    expect(await run({ dryRun: true })).toBe(false);
    expect(running()).toHaveLength(5);
    expect(sent()).not.toContain(terminateLine);
    expect(lines.filter((line) => line.includes('would be ended'))).toHaveLength(2);
  });

  it('has nothing to do the second time', async () => {
    const { run, lines } = await openAccount();
    await run({ allManaged: true });
    lines.length = 0;
    expect(await run({ allManaged: true })).toBe(true);
    expect(lines).toEqual(['Nothing to end.']);
    expect(await run({ dryRun: true, allManaged: true })).toBe(true);
  });

  it('asks once more when a termination is ignored', async () => {
    const { run, applyFaults, running } = await openAccount();
    applyFaults({ terminate: { ignoreTimes: 1 } });
    expect(await run()).toBe(true);
    expect(running()).toEqual(['early', 'capless', 'theirs']);
  });

  it('says what still runs when terminations are ignored', async () => {
    const { run, applyFaults, lines } = await openAccount();
    applyFaults({ terminate: { ignoreTimes: 10 } });
    expect(await run()).toBe(false);
    expect(lines.filter((line) => /: STILL RUNNING, cap /.test(line))).toHaveLength(2);
  });

  it('ends one by one when the request for all of them is refused', async () => {
    const { run, applyFaults, running, sent } = await openAccount();
    applyFaults({
      nextResponses: [{ match: terminateLine, status: 404, code: 'global/object-does-not-exist', times: 2 }],
    });
    expect(await run()).toBe(false);
    expect(running()).toHaveLength(4);
    expect(sent().filter((line) => line === terminateLine)).toHaveLength(3);
  });

  it('fails when the API does', async () => {
    const { run, applyFaults } = await openAccount();
    applyFaults({ nextResponses: [{ match: 'GET /instances', status: 401, times: 9 }] });
    await expect(run()).rejects.toMatchObject({ code: 'unauthorized' });
  });
});
