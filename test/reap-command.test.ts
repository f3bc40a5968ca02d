import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runReap } from '../src/reap-command.ts';
import { startSandbox } from '../src/sandbox/index.ts';
import { JumpClock } from './support/clock.ts';
import { temporaryFolder } from './support/folder.ts';

/** The command against a sandbox, with a home that no Tandem has ever lived in. */
async function openCommand() {
  const clock = new JumpClock();
  const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece: 0 });
  onTestFinished(() => sandbox.close());
  const home = temporaryFolder();
  const environment = {
    ...sandbox.environment,
    TANDEM_HOME: home,
    TANDEM_CONFIG: undefined,
    TANDEM_LOG_LEVEL: 'silent',
  };
  const lines: string[] = [];
  sandbox.lambda.applyFaults({ terminate: { durationMs: 0 }, pacing: { enabled: false } });
  return {
    sandbox,
    home,
    lines,
    run: (changes: Record<string, string> = {}) =>
      runReap({ dryRun: false, allManaged: false }, (line) => lines.push(line), { ...environment, ...changes }, clock),
    addLate: () =>
      sandbox.lambda.addInstance({
        name: 'late',
        active: true,
        tags: [
          { key: 'managed-by', value: 'tandem' },
          { key: 'tandem-lease-cap', value: '2026-11-23T00:00:00Z' },
        ],
      }),
  };
}

describe('tandem reap', () => {
  it('needs the API key and nothing else, ends what is late, and leaves no file behind', async () => {
    const { run, addLate, sandbox, home, lines } = await openCommand();
    const id = addLate();
    expect(await run()).toBe(0);
    expect(sandbox.lambda.instances().find((instance) => instance.id === id)?.status).toBe('terminated');
    expect(sandbox.lambda.instances().find(({ name }) => name === 'sandbox-box')?.status).toBe('active');
    expect(lines).toEqual([expect.stringMatching(/^late \(.*\): terminated, cap 2026-11-23 00:00 UTC$/)]);
    expect(readdirSync(home)).toEqual([]);
  });

  it('is not kept from it by a tandem.yaml that is broken', async () => {
    const { run, addLate, sandbox, home } = await openCommand();
    writeFileSync(join(home, 'tandem.yaml'), 'leases: {capHours: nonsense}');
    const id = addLate();
    expect(await run({ TANDEM_CONFIG: join(home, 'gone.yaml') })).toBe(0);
    expect(sandbox.lambda.instances().find((instance) => instance.id === id)?.status).toBe('terminated');
  });

  it('exits with 1 when something still runs', async () => {
    const { run, addLate, sandbox } = await openCommand();
    addLate();
    sandbox.lambda.applyFaults({ terminate: { ignoreTimes: 10 } });
    expect(await run()).toBe(1);
  });

  it('says which variable to set when there is no key', async () => {
    const { run } = await openCommand();
    await expect(run({ LAMBDA_API_KEY: '' })).rejects.toMatchObject({
      code: 'not_configured',
      next: expect.stringContaining('LAMBDA_API_KEY_FILE'),
    });
  });
});
