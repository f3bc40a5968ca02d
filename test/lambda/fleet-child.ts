import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { Clock } from '../../src/clock.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.ts';
import { type Database, openDatabase } from '../../src/usage/database.ts';
import { temporaryFolder } from '../support/folder.ts';

const script = fileURLToPath(new URL('fleet-child.mjs', import.meta.url));
/** Ten minutes take six seconds. */
const speed = 100;

export interface Child {
  process: ChildProcess;
  /** Asks for it, and does not wait for the answer. */
  ask(tool: string, input: Record<string, unknown>): void;
  /** The next answer. */
  answer(): Promise<any>;
  kill(): Promise<void>;
}

export interface KillableWorld {
  sandbox: Sandbox;
  database: Database;
  clock: Clock;
  /** Another process of Tandem on the same state folder. */
  startChild(): Promise<Child>;
}

/** A sandbox in this process, and processes of Tandem that live in it and can be killed. */
export async function startKillableWorld(): Promise<KillableWorld> {
  const originMs = Date.now();
  const clock: Clock = {
    nowMs: () => Math.round(originMs + (Date.now() - originMs) * speed),
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms / speed);
        signal?.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
  const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece: 0 });
  onTestFinished(() => sandbox.close());
  sandbox.lambda.applyFaults({ boot: { durationMs: 60_000 }, serving: { lagMs: 10_000 } });
  const home = temporaryFolder();
  const yaml = `${sandbox.configYaml}\ndeployments: {drainSeconds: 1200}\n`;
  writeFileSync(join(home, 'tandem.yaml'), yaml);
  const database = await openDatabase(join(home, 'tandem.db'));
  onTestFinished(() => database.close());
  const environment = { ...sandbox.environment, TANDEM_HOME: home, TANDEM_LOG_LEVEL: 'warn' };
  return {
    sandbox,
    database,
    clock,
    async startChild() {
      const input = JSON.stringify({ url: sandbox.url, originMs, speed });
      const child = spawn(process.execPath, [script, input], {
        stdio: ['pipe', 'pipe', 'ignore'],
        env: { PATH: process.env.PATH, ...environment },
      });
      onTestFinished(() => {
        child.kill('SIGKILL');
      });
      child.stdin.on('error', () => undefined);
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const answer = async () => {
        const line = await lines.next();
        if (line.done) throw new Error('The child process ended without an answer.');
        return JSON.parse(line.value);
      };
      await answer();
      return {
        process: child,
        ask: (tool, input) => void child.stdin.write(`${JSON.stringify({ tool, input })}\n`),
        answer,
        kill: () =>
          new Promise((resolve) => {
            child.once('exit', () => resolve());
            child.kill('SIGKILL');
          }),
      };
    },
  };
}
