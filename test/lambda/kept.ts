import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { onTestFinished, vi } from 'vitest';
import { type App, type AppOptions, createApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config/index.ts';
import { startSandbox } from '../../src/sandbox/index.ts';
import type { InstanceTruth } from '../../src/sandbox/lambda/index.ts';
import { openDatabase, type Queries, select } from '../../src/usage/database.ts';
import type { Tables } from '../../src/usage/tables.ts';
import { temporaryFolder } from '../support/folder.ts';
import { inTurns } from '../support/in-turns.ts';
import { LeapingClock } from '../support/leaping-clock.ts';
import type { CallResult } from '../support/world.ts';
import { until } from './cloud.ts';

// Hours of the clock are hundreds of passes, on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 90_000 });

export const minuteMs = 60_000;
export const hourMs = 60 * minuteMs;
/** Between two passes of the keeper. */
const passMs = 5_000;
export const gpu = 'gpu_1x_gh200';
export const launchLine = 'POST /instance-operations/launch';
export const model = 'openai/gpt-oss-120b';

type TableName = 'deployment' | 'hunt' | 'notice' | 'instance' | 'keeper';
type Row<Name extends keyof Tables> = Record<keyof Tables[Name] & string, any>;

export interface KeptApp {
  app: App;
  call(tool: string, input?: Record<string, unknown>): Promise<CallResult>;
  /** One pass of its keeper, whoever has the lock. */
  pass(): Promise<void>;
  /** As a program that ends in order; at the end of the test otherwise. */
  close(): Promise<void>;
}

export interface KeptOptions {
  /** Further blocks of `tandem.yaml`. */
  yaml?: string;
  start?: string;
}

/**
 * The sandbox, and Tandem on it, whose keeper makes a pass when the test says so. Time leaps over whatever is slept.
 * No test of these may see two machines of one deployment at once.
 */
export async function startKept({ yaml = '', start = '2026-11-23T09:00:00Z' }: KeptOptions = {}) {
  const clock = new LeapingClock(start);
  const budget = { dailyUsd: 500, monthlyUsd: 5_000 };
  const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece: 0, budget });
  onTestFinished(() => sandbox.close());
  sandbox.lambda.applyFaults({ boot: { durationMs: 4 * minuteMs } });
  const home = temporaryFolder();
  const file = join(home, 'tandem.yaml');
  const configure = (more: string) => writeFileSync(file, `${sandbox.configYaml}${more}`);
  configure(yaml);

  const openApp = async (options: AppOptions = {}): Promise<KeptApp> => {
    const environment = { TANDEM_HOME: home, TANDEM_CONFIG: file, TANDEM_LOG_LEVEL: 'silent' };
    const config = loadConfig({ ...sandbox.environment, ...environment });
    const app = await createApp(config, { clock, sandbox, keep: false, ...options });
    const session = app.createSession({});
    const client = new Client({ name: 'test', version: '1' });
    const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
    await Promise.all([session.connect(serverSide), client.connect(clientSide)]);
    const lives = new AbortController();
    let closing: Promise<void> | undefined;
    const close = () => {
      closing ??= (async () => {
        lives.abort();
        await client.close();
        await session.close();
        await app.close();
      })();
      return closing;
    };
    onTestFinished(close);
    return {
      app,
      async call(tool, input = {}) {
        const answer = await client.callTool({ name: tool, arguments: input });
        const [first] = answer.content as { text?: string }[];
        const result = (answer.structuredContent ?? {}) as Record<string, any>;
        return { isError: answer.isError === true, text: first?.text ?? '', result };
      },
      pass: () => app.keeper.pass(lives.signal),
      close,
    };
  };

  const first = await openApp();
  // Beside the app, over a connection of its own.
  const ledger = await openDatabase(join(home, 'tandem.db'));
  onTestFinished(() => ledger.close());
  const { lambda } = sandbox;
  const ours = () => lambda.instances().filter(({ tags }) => tags.some(({ key }) => key === 'tandem-intent'));
  const alive = () => ours().filter(isAlive);

  const kept = {
    ...first,
    sandbox,
    lambda,
    clock,
    home,
    configure,
    openApp,
    faults: lambda.applyFaults,
    /** The machines that Tandem launched, as they really are. */
    ours,
    alive,
    launchesSent: () => count(launchLine),
    terminationsSent: () => count('POST /instance-operations/terminate'),
    async pass(of: Pick<KeptApp, 'pass'>[] = [first]) {
      await inTurns(of, (one) => one.pass());
      requireOneEach(alive());
    },
    /** The next start of the program, after one that ended while Lambda had not answered to its launch, and never will. */
    async reopenWhileLaunching(): Promise<KeptApp> {
      lambda.applyFaults({ nextResponses: [{ match: launchLine, dropConnection: true, delayMs: 2 * minuteMs }] });
      const launching = kept.deploy().catch(() => undefined);
      while (kept.launchesSent() === 0) await new Promise((resolve) => setImmediate(resolve));
      await first.close();
      await launching;
      return openApp();
    },
    /** Lets the clock run, with a pass every five seconds. */
    async elapse(ms: number, of: Pick<KeptApp, 'pass'>[] = [first], everyMs = passMs) {
      for (const untilMs = clock.nowMs() + ms; clock.nowMs() < untilMs; ) {
        await kept.pass(of);
        await clock.sleep(everyMs);
      }
    },
    /** The same until it is so; fails when that takes longer than `withinMs`. */
    async passUntil(
      isSo: () => boolean | Promise<boolean>,
      withinMs = 30 * minuteMs,
      of: Pick<KeptApp, 'pass'>[] = [first],
    ) {
      for (const untilMs = clock.nowMs() + withinMs; !(await isSo()); ) {
        if (clock.nowMs() >= untilMs) throw new Error(`${withinMs / 1000} s passed in vain for: ${isSo}`);
        await kept.pass(of);
        await clock.sleep(passMs);
      }
    },
    rows: <Name extends TableName>(table: Name): Promise<Row<Name>[]> =>
      select<Row<Name>>(ledger.read, `SELECT * FROM ${table}`),
    /** What another process has written. */
    write: (work: (queries: Queries) => Promise<unknown>) =>
      ledger.write(async (queries) => void (await work(queries))),
    /** While a keeper keeps by itself: in real time. */
    until,
    /** The newest of that name. */
    async deployment(name = 'analysts'): Promise<Row<'deployment'> | undefined> {
      const rows = (await kept.rows('deployment')).filter((row) => row.name === name);
      return rows.sort((one, other) => one.created_at_ms - other.created_at_ms).at(-1);
    },
    stateIs: (state: string, name?: string) => async () => (await kept.deployment(name))?.state === state,
    async noticed(kind: string): Promise<string[]> {
      return (await kept.rows('notice')).filter((notice) => notice.kind === kind).map(({ text }) => text);
    },
    /** Where the keys of machines are. */
    keysOf: () => (existsSync(join(home, 'deployments')) ? readdirSync(join(home, 'deployments')) : []),
    /** The call, and once more with the token that it gave. */
    async confirmed(tool: string, input: Record<string, unknown>): Promise<CallResult> {
      const plan = await first.call(tool, input);
      if (plan.result.status !== 'confirm_required') throw new Error(`no plan came of ${tool}: ${plan.text}`);
      return first.call(tool, { ...input, confirm_token: plan.result.confirm_token });
    },
    deploy: (input: Record<string, unknown> = {}) =>
      kept.confirmed('launch_instance', { instance_type: gpu, name: 'analysts', serve: { model }, ...input }),
    async deployReady(input: Record<string, unknown> = {}) {
      await kept.deploy(input);
      await kept.passUntil(kept.stateIs('ready'));
    },
    hunt: (wait: Record<string, unknown> = {}, input: Record<string, unknown> = {}) => {
      const until = new Date(clock.nowMs() + 6 * hourMs).toISOString();
      const waitForCapacity = { types: [gpu], until, ...wait };
      return kept.confirmed('launch_instance', { name: 'found', wait_for_capacity: waitForCapacity, ...input });
    },
    /** `{prompt}` for the deployment by its name. */
    ask: (backend = 'analysts') => first.call('complete', { prompt: 'Hello', backend }),
  };
  return kept;

  function count(line: string): number {
    return lambda.requestLog.filter(({ method, path }) => `${method} ${path}` === line).length;
  }
}

export type Kept = Awaited<ReturnType<typeof startKept>>;

function isAlive({ status, isVisible }: InstanceTruth): boolean {
  return status !== 'terminated' && isVisible;
}

function requireOneEach(machines: readonly InstanceTruth[]): void {
  const deployments = machines.flatMap(({ tags }) => tags.find(({ key }) => key === 'tandem-deployment')?.value ?? []);
  const twice = deployments.find((id, index) => deployments.indexOf(id) !== index);
  if (twice !== undefined) throw new Error(`deployment ${twice} has two machines at once`);
}
