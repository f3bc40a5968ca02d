import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/usage/database.ts';
import { temporaryFolder } from '../support/folder.ts';
import { run, ServerProcess, sandboxAndEnvironment, waitFor } from '../support/process.ts';
import { yamlFor } from '../support/yaml.ts';

async function attempts(home: string) {
  const database = await openDatabase(join(home, 'tandem.db'));
  const rows = await database.read.selectFrom('attempt').selectAll().execute();
  const periods = await database.read.selectFrom('budget_period').selectAll().execute();
  await database.close();
  return { rows, reserved: periods.map((period) => period.reserved_nano_usd) };
}

/** A server that is in the middle of a call which will never be answered. */
async function serverInTheMiddle() {
  const world = await sandboxAndEnvironment((sandbox) => yamlFor(sandbox, [{ id: 'mute', models: ['silent'] }]));
  const server = new ServerProcess([], world.environment);
  await server.initialize();
  const answer = server.call('complete', { prompt: 'Hello' });
  answer.catch(() => undefined);
  await waitFor(() => world.sandbox.serverless.calls.length === 1, 'the call to reach the provider');
  return { ...world, server };
}

describe('the server on stdio', () => {
  it('serves a client in real mode: tools, an answer, and its cost', async () => {
    const { environment } = await sandboxAndEnvironment();
    const server = new ServerProcess([], environment);
    await server.initialize();
    const { result } = await server.request('tools/list');
    expect(result.tools).toHaveLength(10);
    const answer = await server.call('complete', { prompt: 'What is the capital of France?' });
    expect(answer.structuredContent).toMatchObject({ backend: 'sandbox-serverless', finish_reason: 'stop' });
    const report = await server.call('cost_report');
    expect(report.structuredContent.totals).toMatchObject({ requests: 1, answered: 1 });
    server.child.stdin.end();
    expect((await server.finished).exitCode).toBe(0);
  });

  it('writes nothing but JSON-RPC to stdout, also at log level trace, and no secret to stderr', async () => {
    const { environment } = await sandboxAndEnvironment();
    const server = new ServerProcess([], { ...environment, TANDEM_LOG_LEVEL: 'trace' });
    await server.initialize();
    await server.call('complete', { prompt: 'Hello' });
    await server.call('list_gpu_instances');
    await server.call('complete', { prompt: '' });
    server.child.stdin.end();
    const { stdout, stderr } = await server.finished;
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(4);
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: '2.0' });
    expect(stderr).toContain('"msg":"ready"');
    for (const secret of [environment.LAMBDA_API_KEY, environment.SANDBOX_KEY])
      expect(stderr + stdout).not.toContain(secret);
  });

  it('leaves within 2 s when stdin closes in the middle of a call, and settles the row', async () => {
    const { server, home, sandbox } = await serverInTheMiddle();
    const closedAt = performance.now();
    server.child.stdin.end();
    const { exitCode } = await server.finished;
    expect(performance.now() - closedAt).toBeLessThan(2_000);
    expect(exitCode).toBe(0);
    expect(statSync(join(home, 'tandem.db-wal'), { throwIfNoEntry: false })?.size ?? 0).toBe(0);
    const { rows, reserved } = await attempts(home);
    expect(rows).toMatchObject([{ status: 'cancelled' }]);
    expect(reserved).toEqual([0, 0]);
    await waitFor(() => sandbox.serverless.calls[0]?.outcome === 'caller_left', 'the provider to see the caller leave');
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('leaves cleanly on %s', async (signal) => {
    const { server, home } = await serverInTheMiddle();
    server.child.kill(signal);
    expect((await server.finished).exitCode).toBe(0);
    expect((await attempts(home)).rows).toMatchObject([{ status: 'cancelled' }]);
  });

  it('is settled by the next start when it was killed in the middle of a call', async () => {
    const { server, home, environment } = await serverInTheMiddle();
    server.child.kill('SIGKILL');
    await server.finished;
    const killed = await attempts(home);
    expect(killed.rows).toMatchObject([{ status: 'open' }]);
    expect(Math.min(...killed.reserved)).toBeGreaterThan(0);

    const next = new ServerProcess([], environment);
    await next.initialize();
    const { rows, reserved } = await attempts(home);
    expect(rows).toMatchObject([{ status: 'interrupted', cost_nano_usd: null }]);
    expect(reserved).toEqual([0, 0]);
    const report = await next.call('cost_report');
    expect(report.content[0].text).toContain('Unknown cost, in no sum: 1 attempts on mute/silent');
  });

  it('lets a running server keep its open rows when another one starts', async () => {
    const { home, environment, server } = await serverInTheMiddle();
    const second = new ServerProcess([], environment);
    await second.initialize();
    expect((await attempts(home)).rows).toMatchObject([{ status: 'open' }]);
    expect(server.child.exitCode).toBeNull();
  });

  it('answers a prompt of 11 MB with the limit, and goes on', async () => {
    const { environment } = await sandboxAndEnvironment();
    const server = new ServerProcess([], environment);
    await server.initialize();
    const { isError, content } = await server.call('complete', { prompt: 'word '.repeat(2_200_000) });
    expect(isError).toBe(true);
    expect(content[0].text).toMatch(/^context_too_long/);
    expect((await server.request('tools/list')).result.tools).toHaveLength(10);
  });

  it('notices that its ledger was deleted before it spends anything', async () => {
    const { environment, home, sandbox } = await sandboxAndEnvironment();
    const server = new ServerProcess([], environment);
    await server.initialize();
    rmSync(join(home, 'tandem.db'));
    const { isError, content } = await server.call('complete', { prompt: 'Hello' });
    expect(isError).toBe(true);
    expect(content[0].text).toMatch(/^database_unavailable: .*was deleted or replaced/);
    expect(sandbox.serverless.calls).toEqual([]);
  });

  it('lives in the sandbox without any environment, and leaves no folder behind', async () => {
    const before = sandboxFolders();
    const server = new ServerProcess(['--sandbox'], { TANDEM_LOG_LEVEL: 'warn' });
    await server.initialize();
    const types = await server.call('list_gpu_types', { available_only: true });
    expect(types.structuredContent.types.length).toBeGreaterThan(3);
    server.child.stdin.end();
    expect((await server.finished).exitCode).toBe(0);
    expect(sandboxFolders()).toEqual(before);
  });

  it('takes nothing of the real world into the sandbox', async () => {
    const home = temporaryFolder();
    const environment = {
      TANDEM_HOME: home,
      LAMBDA_API_KEY: 'secret_real_key',
      DEEPINFRA_API_KEY: 'real-key-123',
      TANDEM_LOG_LEVEL: 'info',
    };
    const server = new ServerProcess(['--sandbox'], environment);
    await server.initialize();
    const { structuredContent } = await server.call('route_explain', { prompt: 'hi' });
    expect(structuredContent.order.every((candidate: string) => candidate.startsWith('sandbox-'))).toBe(true);
    expect(readdirSync(home)).toEqual([]);
  });

  it('offers what --read-only and --tools leave', async () => {
    const { environment } = await sandboxAndEnvironment();
    const server = new ServerProcess(['--read-only', '--tools', 'complete,cost_report'], environment);
    await server.initialize();
    const { result } = await server.request('tools/list');
    expect(result.tools.map(({ name }: { name: string }) => name)).toEqual(['cost_report']);
    const flagged = new ServerProcess([], { ...environment, TANDEM_READ_ONLY: '1' });
    await flagged.initialize();
    expect((await flagged.request('tools/list')).result.tools).toHaveLength(5);
  });
});

describe('the command line', () => {
  it('prints version and help', async () => {
    expect((await run(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    const { stdout, exitCode } = await run(['--help']);
    for (const word of ['--sandbox', '--read-only', '--tools', 'demo', 'doctor']) expect(stdout).toContain(word);
    expect(exitCode).toBe(0);
  });

  it('refuses an unknown tool name at the start', async () => {
    const { exitCode, stderr, stdout } = await run(['--tools', 'complete,fly']);
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      'tandem: There is no tool "fly". Valid: complete, route_explain, list_gpu_instances, list_gpu_types, launch_instance, renew_lease, fleet_status, terminate_instance, cost_report, rate_response.\n',
    );
    expect(stdout).toBe('');
  });

  it('refuses a broken configuration with all its problems', async () => {
    const home = temporaryFolder();
    writeFileSync(join(home, 'tandem.yaml'), 'routing: {priority: fast}\nbudgets: {dailyUsd: lots}');
    const { exitCode, stderr } = await run([], { TANDEM_HOME: home });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/2 problems/);
    expect(stderr).toContain('routing.priority');
    expect(stderr).toContain('budgets.dailyUsd');
  });

  it.each([
    ['corrupt', 'this is not a database, it is a text'.repeat(100), /is not a usable database\. Move it away/],
    ['of a newer version', null, /was written by a newer Tandem/],
  ])('refuses a ledger that is %s, and leaves it as it is', async (_what, content, message) => {
    const home = temporaryFolder();
    const path = join(home, 'tandem.db');
    if (content) writeFileSync(path, content);
    else {
      const { createRequire } = await import('node:module');
      const database = new (createRequire(import.meta.url)('libsql'))(path);
      database.exec('PRAGMA user_version = 999');
      database.close();
    }
    const { exitCode, stderr } = await run([], { TANDEM_HOME: home });
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(message);
    expect(existsSync(path)).toBe(true);
  });
});

describe('tandem doctor', () => {
  it('finds all well where all is well', async () => {
    const { environment } = await sandboxAndEnvironment();
    const { exitCode, stdout } = await run(['doctor'], environment);
    expect(stdout).toContain('All is well.');
    expect(stdout).toMatch(/the key in LAMBDA_API_KEY works, \d+ instance types/);
    expect(exitCode).toBe(0);
  });

  it('names each thing that is wrong and what to do, and never a secret', async () => {
    const { environment } = await sandboxAndEnvironment((sandbox) =>
      yamlFor(sandbox, [
        { id: 'wrong', models: ['a'], keyEnv: 'WRONG_KEY' },
        { id: 'missing', models: ['a'], keyEnv: 'MISSING_KEY' },
        { id: 'unlisted', models: ['no-such-8b'] },
        { id: 'gone', models: ['a'], baseUrl: 'http://127.0.0.1:9/v1' },
      ]),
    );
    const secrets = { LAMBDA_API_KEY: 'secret_wrong_lambda', WRONG_KEY: 'wrong-provider-key' };
    const { exitCode, stdout, stderr } = await run(['doctor'], { ...environment, ...secrets });
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/Lambda Cloud .* refused the API key/);
    expect(stdout).toContain('Check the key in LAMBDA_API_KEY');
    expect(stdout).toContain('Check the key in WRONG_KEY');
    expect(stdout).toContain('environment variable MISSING_KEY');
    expect(stdout).toContain('it does not list no-such-8b');
    expect(stdout).toContain('connection refused');
    expect(stdout).toContain('5 problems to mend');
    for (const secret of Object.values(secrets)) expect(stdout + stderr).not.toContain(secret);
  });

  it('says when no prompt may go anywhere', async () => {
    const { environment } = await sandboxAndEnvironment((sandbox) =>
      yamlFor(sandbox, [{ id: 'outside', models: ['small-8b'] }], { routing: { privacy: 'dedicated_only' } }),
    );
    const { exitCode, stdout } = await run(['doctor'], environment);
    expect(exitCode).toBe(1);
    expect(stdout).toContain('no prompt may go to any backend that is configured (routing.privacy: dedicated_only)');
    expect(stdout).toContain('1 problem to mend');
  });

  it('says what to set when nothing is', async () => {
    const { exitCode, stdout } = await run(['doctor']);
    expect(exitCode).toBe(1);
    expect(stdout).toContain('no backend is configured');
    expect(stdout).toContain('Set LAMBDA_API_KEY');
  });
});

function sandboxFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('tandem-sandbox-'));
}
