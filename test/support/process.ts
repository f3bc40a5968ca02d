import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { acceleratedClock } from '../../src/clock.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.ts';
import { temporaryFolder } from './folder.ts';

/** The built program; `npm test` builds it first. */
export const main = join(import.meta.dirname, '../../dist/main.js');

export interface Finished {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** From the start of the process to its end. */
  ms: number;
}

/** The real program as a child, spoken to in lines of JSON-RPC. Killed with the test if it is still there. */
export class ServerProcess {
  readonly child: ChildProcessWithoutNullStreams;
  readonly finished: Promise<Finished>;
  stdout = '';
  stderr = '';
  #nextId = 1;
  readonly #waiting = new Map<number, (message: Record<string, any>) => void>();

  constructor(args: string[], environment: Record<string, string>) {
    const startedAt = performance.now();
    this.child = spawn(process.execPath, [main, ...args], { env: { PATH: process.env.PATH ?? '', ...environment } });
    let rest = '';
    this.child.stdout.on('data', (piece) => {
      this.stdout += piece;
      const lines = (rest + piece).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#take(line);
    });
    this.child.stderr.on('data', (piece) => {
      this.stderr += piece;
    });
    this.child.stdin.on('error', () => undefined);
    this.finished = new Promise((resolve) => {
      this.child.on('close', (exitCode, signal) => {
        resolve({ exitCode, signal, stdout: this.stdout, stderr: this.stderr, ms: performance.now() - startedAt });
      });
    });
    onTestFinished(() => {
      this.child.kill('SIGKILL');
    });
  }

  /** Commands that are no servers print what they like; servers are held to JSON-RPC by the tests. */
  #take(line: string): void {
    if (!line.startsWith('{')) return;
    const message = JSON.parse(line) as Record<string, any>;
    this.#waiting.get(message.id)?.(message);
  }

  request(method: string, params: Record<string, unknown> = {}): Promise<Record<string, any>> {
    const id = this.#nextId++;
    this.send({ jsonrpc: '2.0', id, method, params });
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  send(message: Record<string, unknown>): void {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  async initialize(): Promise<void> {
    await this.request('initialize', {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'test', version: '1' },
    });
    this.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  async call(name: string, input: Record<string, unknown> = {}): Promise<Record<string, any>> {
    return (await this.request('tools/call', { name, arguments: input })).result;
  }
}

/** Runs the program to its end. */
export function run(args: string[], environment: Record<string, string> = {}): Promise<Finished> {
  const process = new ServerProcess(args, { TANDEM_HOME: temporaryFolder(), ...environment });
  process.child.stdin.end();
  return process.finished;
}

/** A sandbox of the test's own, and the environment with which the real program, in real mode, lives in it. */
export async function sandboxAndEnvironment(
  yaml?: (sandbox: Sandbox) => string,
): Promise<{ sandbox: Sandbox; environment: Record<string, string>; home: string }> {
  const sandbox = await startSandbox({ clock: acceleratedClock(50), firstTokenMs: 0, millisecondsPerPiece: 0 });
  onTestFinished(() => sandbox.close());
  const home = temporaryFolder();
  writeFileSync(join(home, 'tandem.yaml'), yaml?.(sandbox) ?? sandbox.configYaml);
  return { sandbox, home, environment: { ...sandbox.environment, TANDEM_HOME: home, TANDEM_LOG_LEVEL: 'warn' } };
}

export async function waitFor(happened: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let tried = 0; tried < 500; tried += 1) {
    if (await happened()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited five seconds for ${what}`);
}
