import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { systemClock } from '../src/clock.ts';
import { openDatabase, type Queries } from '../src/usage/database.ts';
import { KeeperLock, type KeeperRow } from '../src/usage/keeper-lock.ts';
import { temporaryFolder } from './support/folder.ts';
import { bareInstance } from './support/instance-row.ts';
import { main, ServerProcess, sandboxAndEnvironment, waitFor } from './support/process.ts';
import { itWithProcesses, startChild } from './usage/child.ts';

/** A state folder in the sandbox's world, in real mode, with or without a machine in its ledger. */
async function openHome({ withWork = true } = {}) {
  const world = await sandboxAndEnvironment();
  const { home } = world;
  const environment = { ...world.environment, TANDEM_LOG_LEVEL: 'info' };
  const database = await openDatabase(join(home, 'tandem.db'));
  onTestFinished(() => database.close());
  const lock = new KeeperLock(database, systemClock, 'test:0');
  const write = (work: (queries: Queries) => Promise<unknown>) => database.write(work);
  if (withWork) await write((queries) => queries.insertInto('instance').values(workRow).execute());
  return {
    ...world,
    environment,
    lock,
    write,
    endWork: () => write((queries) => queries.updateTable('instance').set({ gone_at_ms: 1 }).execute()),
    log: () => readFileSync(join(home, 'watch.log'), 'utf8'),
    startWatch: (...args: string[]) => new ServerProcess(['watch', ...args], environment),
    /** The row of whoever beats; waits for it. */
    async keeper(): Promise<KeeperRow> {
      await waitFor(() => lock.isKept(), 'somebody to keep');
      return (await lock.state())!;
    },
  };
}

/** Never launched as far as anybody knows, but not given up either: no list changes it within a test. */
const workRow = { ...bareInstance, status: 'unconfirmed', requested_at_ms: Date.now() };

const pidOf = ({ owner }: KeeperRow) => Number(owner.slice(hostname().length + 1));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // What nobody has reaped yet is no longer alive.
    return process.platform !== 'linux' || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** The watchdog outlives its parents, and must not outlive the test. */
function killWithTest(pid: number): void {
  onTestFinished(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
}

describe('tandem watch', () => {
  itWithProcesses('keeps while there is work, and says so in its log and on stderr', async () => {
    const home = await openHome();
    const watch = home.startWatch('--linger', '1');
    expect(await home.keeper()).toMatchObject({ owner: `${hostname()}:${watch.child.pid}`, command: 'watch' });
    await waitFor(() => home.log().includes('keeping the fleet'), 'the log');
    expect(watch.stderr).toBe(`Tandem keeps the fleet of ${home.home}; its log is ${join(home.home, 'watch.log')}.\n`);
    expect(statSync(join(home.home, 'watch.log')).mode & 0o777).toBe(0o600);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    expect(watch.child.exitCode).toBeNull();

    await home.endWork();
    const { exitCode, stdout, stderr } = await watch.finished;
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    expect(stderr).toContain('Tandem stops keeping the fleet: there is nothing to keep.');
    expect(await home.lock.state()).toBeNull();
  });

  itWithProcesses('leaves by itself where there is nothing to keep', async () => {
    const home = await openHome({ withWork: false });
    const { exitCode, ms } = await home.startWatch('--linger', '1').finished;
    expect(exitCode).toBe(0);
    expect(ms).toBeGreaterThan(1_000);
    expect(home.log()).toContain('there is nothing to keep');
  });

  itWithProcesses.each(['SIGTERM', 'SIGINT'] as const)('stops on %s, and makes room for the next', async (signal) => {
    const home = await openHome();
    const watch = home.startWatch();
    await home.keeper();
    await waitFor(() => home.log().includes('keeping the fleet'), 'the watch to begin');
    watch.child.kill(signal);
    expect(await watch.finished).toMatchObject({ exitCode: 0 });
    expect(await home.lock.state()).toBeNull();
  });

  itWithProcesses('is there once: another one says who keeps, and leaves', async () => {
    const home = await openHome();
    const first = home.startWatch();
    await home.keeper();
    const second = await home.startWatch().finished;
    expect(second.exitCode).toBe(0);
    expect(second.stderr).toContain(`${hostname()}:${first.child.pid} (tandem watch) keeps the fleet already`);
    expect(first.child.exitCode).toBeNull();
  });

  itWithProcesses('leaves the place to whoever has it after a long sleep', async () => {
    const home = await openHome();
    const watch = home.startWatch();
    await home.keeper();
    await home.write((queries) => queries.updateTable('keeper').set({ owner: 'test:0', command: 'serve' }).execute());
    expect(await watch.finished).toMatchObject({ exitCode: 0 });
    expect(home.log()).toContain('somebody else keeps the fleet now');
    expect(await home.lock.state()).toMatchObject({ owner: 'test:0' });
  });

  itWithProcesses('takes over when the one before was killed', async () => {
    const home = await openHome();
    const first = home.startWatch();
    await home.keeper();
    first.child.kill('SIGKILL');
    await first.finished;
    await home.write((queries) =>
      queries
        .updateTable('keeper')
        .set({ beat_at_ms: Date.now() - 31_000 })
        .execute(),
    );
    const second = home.startWatch();
    expect(pidOf(await home.keeper())).toBe(second.child.pid);
  });

  itWithProcesses('makes room for one that has read the file, when that has changed and can be read', async () => {
    const home = await openHome();
    const file = join(home.home, 'tandem.yaml');
    const before = readFileSync(file, 'utf8');
    const watch = home.startWatch();
    await home.keeper();
    await waitFor(() => home.log().includes('keeping the fleet'), 'the watch to begin');
    writeFileSync(file, 'leases: {capHours: nonsense}');
    await new Promise((resolve) => setTimeout(resolve, 6_000));
    expect(watch.child.exitCode).toBeNull();
    writeFileSync(file, `${before}\nleases: {capHours: 12}\n`);
    expect(await watch.finished).toMatchObject({ exitCode: 0 });
    expect(watch.stderr).toContain('the configuration has changed');
    const next = pidOf(await home.keeper());
    killWithTest(next);
    expect(next).not.toBe(watch.child.pid);
  });

  itWithProcesses('stays when the file has changed to one that no start would take', async () => {
    const home = await openHome();
    const file = join(home.home, 'tandem.yaml');
    const watch = home.startWatch();
    await home.keeper();
    await waitFor(() => home.log().includes('keeping the fleet'), 'the watch to begin');
    const tooDear = `{name: all, model: a/b-8b, types: [gpu_8x_b200], count: 16, windows: [{days: daily, from: "00:00", to: "20:00"}]}`;
    writeFileSync(file, `${readFileSync(file, 'utf8')}\nfleet: [${tooDear}]\n`);
    await new Promise((resolve) => setTimeout(resolve, 7_000));
    expect(watch.child.exitCode).toBeNull();
    expect(watch.stderr).not.toContain('the configuration has changed');
  });

  itWithProcesses('is followed by one that finds a file and a key named from where the first was started', async () => {
    const home = await openHome();
    const { LAMBDA_API_KEY: key, ...environment } = home.environment as Record<string, string>;
    const elsewhere = temporaryFolder();
    writeFileSync(join(elsewhere, 'key'), `#!/bin/sh\npwd >> ${elsewhere}/asked\necho ${key}\n`, { mode: 0o700 });
    writeFileSync(join(elsewhere, 'own.yaml'), readFileSync(join(home.home, 'tandem.yaml'), 'utf8'));
    const named = { TANDEM_CONFIG: 'own.yaml', LAMBDA_API_KEY_COMMAND: './key' };
    const parent = startChild(
      'ensure',
      { home: home.home },
      { environment: { ...environment, ...named }, cwd: elsewhere },
    );
    expect(await parent.answer()).toEqual({ outcomes: ['started'] });
    const first = pidOf(await home.keeper());
    killWithTest(first);
    const asked = () => existsSync(join(elsewhere, 'asked')) && readFileSync(join(elsewhere, 'asked'), 'utf8');
    await waitFor(() => asked() === `${realpathSync(elsewhere)}\n`, 'the first to read its key');
    writeFileSync(join(elsewhere, 'own.yaml'), `${readFileSync(join(elsewhere, 'own.yaml'), 'utf8')}\n`);
    await waitForLong(async () => pidOf(await home.keeper()) !== first, 'the next one');
    killWithTest(pidOf(await home.keeper()));
    await waitForLong(() => asked() === `${realpathSync(elsewhere)}\n`.repeat(2), 'the next to read its key');
  });

  itWithProcesses('is not for the sandbox', async () => {
    const home = await openHome();
    const { exitCode, stderr } = await new ServerProcess(['--sandbox', 'watch'], home.environment).finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('the sandbox keeps itself');
  });

  itWithProcesses('reads the key from a command that is named from where it was started', async () => {
    const home = await openHome();
    const { LAMBDA_API_KEY: key, ...environment } = home.environment as Record<string, string>;
    const elsewhere = temporaryFolder();
    const asked = join(elsewhere, 'asked');
    writeFileSync(join(elsewhere, 'key'), `#!/bin/sh\npwd >> ${asked}\necho ${key}\n`, { mode: 0o700 });
    const parent = startChild(
      'ensure',
      { home: home.home },
      {
        environment: { ...environment, LAMBDA_API_KEY_COMMAND: './key' },
        cwd: elsewhere,
      },
    );
    expect(await parent.answer()).toEqual({ outcomes: ['started'] });
    killWithTest(pidOf(await home.keeper()));
    await waitFor(() => existsSync(asked), 'the command to be run');
    expect(readFileSync(asked, 'utf8').trim()).toBe(realpathSync(elsewhere));
    expect(home.log()).not.toContain(key);
  });
});

describe('the watchdog', () => {
  itWithProcesses('lives on when the process that started it is killed, in a session of its own', async () => {
    const home = await openHome();
    const parent = startChild('ensure', { home: home.home }, { environment: home.environment });
    expect(await parent.answer()).toEqual({ outcomes: ['started'] });
    const pid = pidOf(await home.keeper());
    killWithTest(pid);
    expect(pid).not.toBe(parent.process.pid);
    parent.process.kill('SIGKILL');
    await new Promise((resolve) => parent.process.once('exit', resolve));

    const { beat_at_ms: beatAtMs } = await home.keeper();
    await waitForLong(async () => (await home.keeper()).beat_at_ms > beatAtMs, 'a beat after the death of its parent');
    expect(isAlive(pid)).toBe(true);
    if (process.platform === 'linux') {
      expect(sessionOf(pid)).toBe(pid);
      expect(realpathSync(`/proc/${pid}/cwd`)).toBe(realpathSync(home.home));
    }
    process.kill(pid, 'SIGTERM');
    await waitFor(() => !isAlive(pid), 'it to stop when told');
    expect(await home.lock.state()).toBeNull();
  });

  itWithProcesses.each([
    ['hangs up', (server: ServerProcess) => server.child.stdin.end()],
    ['is killed', (server: ServerProcess) => server.child.kill('SIGKILL')],
  ])('keeps what a server has launched whose client %s right after the answer', async (_how, end) => {
    const home = await openHome({ withWork: false });
    const server = new ServerProcess([], home.environment);
    await server.initialize();
    const wish = { instance_type: 'gpu_1x_a10', name: 'box' };
    const plan = await server.call('launch_instance', wish);
    const launched = await server.call('launch_instance', {
      ...wish,
      confirm_token: plan.structuredContent.confirm_token,
    });
    end(server);
    expect(launched.structuredContent).toMatchObject({ status: 'launching' });
    await server.finished;
    const keeper = await home.keeper();
    killWithTest(pidOf(keeper));
    expect(keeper.command).toBe('watch');
  });

  itWithProcesses('keeps the hunt of a server that is killed right after the answer', async () => {
    const home = await openHome({ withWork: false });
    const server = new ServerProcess([], home.environment);
    await server.initialize();
    const until = new Date(Date.now() + 3_600_000).toISOString();
    home.sandbox.lambda.applyFaults({ capacity: { gpu_1x_a10: [] } });
    const wish = { name: 'box', wait_for_capacity: { types: ['gpu_1x_a10'], until } };
    const plan = await server.call('launch_instance', wish);
    await server.call('launch_instance', { ...wish, confirm_token: plan.structuredContent.confirm_token });
    server.child.kill('SIGKILL');
    await server.finished;
    const keeper = await home.keeper();
    killWithTest(pidOf(keeper));
    expect(keeper.command).toBe('watch');
  });

  itWithProcesses('is one, when several processes start it at once', async () => {
    const home = await openHome();
    const parents = [1, 2, 3].map(() => startChild('ensure', { home: home.home }, { environment: home.environment }));
    const answers = await Promise.all(parents.map((parent) => parent.answer()));
    expect(answers.map(({ outcomes }) => outcomes[0])).toContain('started');
    const pid = pidOf(await home.keeper());
    killWithTest(pid);
    const started = answers.filter(({ outcomes }) => outcomes[0] === 'started').length;
    const left = () => home.log().split('somebody else keeps the fleet').length - 1;
    await waitForLong(() => left() === started - 1, 'the others to leave');
    expect(pidOf(await home.keeper())).toBe(pid);
  });

  itWithProcesses('is not started where somebody keeps already', async () => {
    const home = await openHome();
    await home.lock.take('serve');
    const parent = startChild('ensure', { home: home.home }, { environment: home.environment });
    expect(await parent.answer()).toEqual({ outcomes: ['kept'] });
    expect(existsSync(join(home.home, 'watch.log'))).toBe(false);
  });

  itWithProcesses('that fails at once is not started again and again, and its log says why', async () => {
    const home = await openHome();
    const environment = { ...home.environment, TANDEM_READ_ONLY: 'perhaps' };
    const parent = startChild('ensure', { home: home.home, times: 3 }, { environment });
    expect(await parent.answer()).toEqual({ outcomes: ['started', 'waiting', 'waiting'] });
    await waitForLong(() => home.log().includes('TANDEM_READ_ONLY: must be true or false'), 'the reason in the log');
    expect(await home.lock.state()).toBeNull();
  });

  itWithProcesses('ends when there is nothing left to keep', async () => {
    const home = await openHome();
    const command = [main, 'watch', '--detached', '--linger', '1'];
    const parent = startChild('ensure', { home: home.home, command }, { environment: home.environment });
    await parent.answer();
    const pid = pidOf(await home.keeper());
    killWithTest(pid);
    parent.process.kill('SIGKILL');
    await home.endWork();
    await waitForLong(() => !isAlive(pid), 'it to leave');
    expect(home.log()).toContain('there is nothing to keep');
    // Nobody looks at a terminal: what it says is in its log alone.
    for (const line of home.log().trim().split('\n')) expect(() => JSON.parse(line)).not.toThrow();
  });
});

function sessionOf(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1] ?? '';
  return Number(afterName.split(' ')[3]);
}

/** Beats come every five seconds. */
async function waitForLong(happened: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tried = 0; tried < 3; tried += 1) {
    const found = await waitFor(happened, what).then(
      () => true,
      () => false,
    );
    if (found) return;
  }
  throw new Error(`waited fifteen seconds for ${what}`);
}
