import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { describe, expect, onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { startSandbox } from '../../src/sandbox/index.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { instanceCost } from '../../src/usage/instance-cost.ts';
import { hasOpenWork } from '../../src/usage/open-work.ts';
import { temporaryFolder } from '../support/folder.ts';
import { main } from '../support/process.ts';
import { itWithProcesses } from '../usage/child.ts';
import { until } from './cloud.ts';
import { type KillableWorld, startKillableWorld } from './fleet-child.ts';
import { launchLine, terminateLine } from './steps.ts';

const patienceMs = 40_000;
const plain = { instance_type: 'gpu_1x_a10', name: 'box', lease_hours: 0.1 };
const served = {
  instance_type: 'gpu_1x_gh200',
  name: 'analysts',
  lease_hours: 0.5,
  serve: { model: 'openai/gpt-oss-120b' },
};

function sent({ sandbox }: KillableWorld, line: string): number {
  return sandbox.lambda.requestLog.filter(({ method, path }) => `${method} ${path}` === line).length;
}

function machines({ sandbox }: KillableWorld) {
  return sandbox.lambda.instances().filter(({ tags }) => tags.some(({ key }) => key === 'tandem-intent'));
}

function rows({ database }: KillableWorld) {
  return database.read.selectFrom('instance').selectAll().orderBy('requested_at_ms').execute();
}

async function deploymentState({ database }: KillableWorld): Promise<string | undefined> {
  return (await database.read.selectFrom('deployment').select('state').executeTakeFirst())?.state;
}

/** Whoever goes on brings everything to its end: one machine for the intent, and books that hold the bill. */
async function expectGoodEnd(world: KillableWorld, machinesMade: number): Promise<void> {
  const next = await world.startChild();
  await until(async () => !(await hasOpenWork(world.database.read)), patienceMs);
  await until(() => machines(world).every(({ terminatedAtMs }) => terminatedAtMs !== null), patienceMs);
  const intents = machines(world).map(({ tags }) => tags.find(({ key }) => key === 'tandem-intent')?.value);
  expect(intents).toHaveLength(machinesMade);
  expect(new Set(intents).size).toBe(machinesMade);
  const nowMs = world.clock.nowMs();
  const bill = world.sandbox.lambda.bill().instances;
  for (const row of await rows(world)) {
    const line = bill.find(({ id }) => id === row.instance_id);
    const { upperNanoUsd } = instanceCost(row, 0, nowMs, nowMs);
    expect(upperNanoUsd / 1e7).toBeGreaterThanOrEqual(line?.cents ?? 0);
  }
  const launched = (await rows(world)).filter(({ status }) => status !== 'not_launched');
  expect(launched).toHaveLength(machinesMade);
  await next.kill();
}

describe('a process that is killed', { timeout: 90_000 }, () => {
  itWithProcesses('between the intent and the launch: that counts as not launched', async () => {
    const world = await startKillableWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, delayMs: 30_000 }] });
    const child = await world.startChild();
    child.ask('launch_instance', plain);
    await until(() => sent(world, launchLine) === 1, patienceMs);
    expect(await rows(world)).toMatchObject([{ status: 'intent' }]);
    await child.kill();
    await expectGoodEnd(world, 0);
    expect(await rows(world)).toMatchObject([{ status: 'not_launched' }]);
    expect(sent(world, launchLine)).toBe(1);
  });

  itWithProcesses('between the intent and the launch of a deployment: another machine is found for it', async () => {
    const world = await startKillableWorld();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: launchLine, delayMs: 30_000, status: 502 }] });
    const child = await world.startChild();
    child.ask('launch_instance', served);
    await until(() => sent(world, launchLine) === 1, patienceMs);
    await child.kill();
    await expectGoodEnd(world, 1);
    expect((await rows(world)).map(({ status }) => status)).toEqual(['not_launched', 'terminated']);
    expect(sent(world, launchLine)).toBe(2);
  });

  itWithProcesses('after a launch was made, and before it is recorded: the machine is taken in', async () => {
    const world = await startKillableWorld();
    const slowly = { match: launchLine, afterCommit: true, delayMs: 30_000 };
    world.sandbox.lambda.applyFaults({ nextResponses: [slowly] });
    const child = await world.startChild();
    child.ask('launch_instance', served);
    await until(() => machines(world).length === 1, patienceMs);
    expect(await rows(world)).toMatchObject([{ status: 'intent', instance_id: null }]);
    await child.kill();
    await expectGoodEnd(world, 1);
    expect(sent(world, launchLine)).toBe(1);
  });

  itWithProcesses('while a machine boots: the next one sees it become ready', async () => {
    const world = await startKillableWorld();
    const child = await world.startChild();
    child.ask('launch_instance', { ...served, lease_hours: 4 });
    await child.answer();
    expect(machines(world)).toMatchObject([{ status: 'booting' }]);
    await child.kill();
    const next = await world.startChild();
    await until(async () => (await deploymentState(world)) === 'ready', patienceMs);
    next.ask('terminate_instance', { instances: ['analysts'] });
    await next.answer();
    await next.kill();
    await expectGoodEnd(world, 1);
  });

  itWithProcesses('while a deployment drains: the next one lets it finish, and ends it', async () => {
    const world = await startKillableWorld();
    const child = await world.startChild();
    child.ask('launch_instance', served);
    await until(async () => (await deploymentState(world)) === 'ready', patienceMs);
    const id = machines(world)[0]?.id ?? '';
    world.sandbox.machineServer(id).override = 'silent';
    const working = new AbortController();
    const question = { model: 'gpt-oss-120b', messages: [{ role: 'user', content: 'Hello' }] };
    const work = fetch(`${world.sandbox.machineUrl(id)}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(question),
      signal: working.signal,
    }).catch(() => undefined);
    await until(async () => (await deploymentState(world)) === 'draining', patienceMs);
    await child.kill();
    expect(sent(world, terminateLine)).toBe(0);
    working.abort();
    await work;
    await expectGoodEnd(world, 1);
  });

  itWithProcesses('while it terminates: the next one makes sure', async () => {
    const world = await startKillableWorld();
    const child = await world.startChild();
    child.ask('launch_instance', served);
    await child.answer();
    world.sandbox.lambda.applyFaults({ nextResponses: [{ match: terminateLine, delayMs: 30_000, status: 500 }] });
    child.ask('terminate_instance', { instances: ['analysts'] });
    await until(() => sent(world, terminateLine) === 1, patienceMs);
    await child.kill();
    expect(machines(world)).toMatchObject([{ terminateRequestedAtMs: null }]);
    await expectGoodEnd(world, 1);
    expect(machines(world)).toMatchObject([{ terminatedBy: 'api' }]);
  });
});

describe('the real program', { timeout: 120_000 }, () => {
  itWithProcesses('is killed, and the watchdog that it started ends the machine with its lease', async () => {
    const sandbox = await startSandbox({ clock: systemClock, firstTokenMs: 0, millisecondsPerPiece: 0 });
    onTestFinished(() => sandbox.close());
    sandbox.lambda.applyFaults({ boot: { durationMs: 1_000 }, terminate: { durationMs: 1_000 } });
    const home = temporaryFolder();
    writeFileSync(join(home, 'tandem.yaml'), `${sandbox.configYaml}\nleases: {defaultHours: 0.006}\n`);
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [main],
      env: { PATH: process.env.PATH ?? '', ...sandbox.environment, TANDEM_HOME: home },
      stderr: 'ignore',
    });
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(transport);
    onTestFinished(() => client.close());
    const order = { instance_type: 'gpu_1x_a10', name: 'box' };
    const plan = await client.callTool({ name: 'launch_instance', arguments: order });
    const { confirm_token } = plan.structuredContent as { confirm_token: string };
    await client.callTool({ name: 'launch_instance', arguments: { ...order, confirm_token } });
    const ours = () => sandbox.lambda.instances().filter(({ name }) => name === 'box');
    expect(ours()).toHaveLength(1);

    const database = await openDatabase(join(home, 'tandem.db'));
    onTestFinished(() => database.close());
    const keeper = () => database.read.selectFrom('keeper').selectAll().executeTakeFirst();
    await until(async () => (await keeper())?.command === 'watch', 15_000);
    const pid = Number((await keeper())?.owner.slice(hostname().length + 1));
    onTestFinished(() => {
      if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    });
    const server = transport.pid ?? 0;
    expect(pid).not.toBe(server);
    process.kill(server, 'SIGKILL');
    await until(() => !isAlive(server));
    expect(ours()).toMatchObject([{ terminateRequestedAtMs: null }]);

    await until(() => ours().every(({ terminatedAtMs }) => terminatedAtMs !== null), 60_000);
    expect(ours()).toMatchObject([{ terminatedBy: 'api' }]);
    await until(async () => !(await hasOpenWork(database.read)), 30_000);
    const [row] = await database.read.selectFrom('instance').selectAll().execute();
    expect(row).toMatchObject({ end_reason: 'lease' });
    // With nothing to keep it lingers for a minute, and is told here not to.
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, 'SIGTERM');
    await until(() => !isAlive(pid), 15_000);
    expect(await keeper()).toBeUndefined();
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // What nobody has reaped yet is no longer alive.
    const status = `/proc/${pid}/status`;
    return !existsSync(status) || !/^State:\s+Z/m.test(readFileSync(status, 'utf8'));
  } catch {
    return false;
  }
}
