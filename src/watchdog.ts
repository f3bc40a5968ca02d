import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Log } from './log.ts';
import { openForAppending } from './log-file.ts';
import type { KeeperLock } from './usage/keeper-lock.ts';

/** A watchdog that cannot start says why in its log, and is not started again and again. */
const startEveryMs = 60_000;

/** `waiting`: one was started less than a minute ago. `failed`: the log says why. */
export type WatchdogOutcome = 'kept' | 'started' | 'waiting' | 'failed';

/** Where the watchdog of a state folder writes. */
export function watchLogPath(home: string): string {
  return join(home, 'watch.log');
}

/** Starts `tandem watch` as a process that outlives this one: a client that hangs up takes its server with it. */
export class Watchdog {
  readonly #home: string;
  readonly #lock: KeeperLock;
  readonly #log: Log;
  readonly #command: readonly string[];
  readonly #folder: string | undefined;
  #startedAtMs = Number.NEGATIVE_INFINITY;

  /** `command`: what Node runs, with its arguments. `folder`: where it is started, when that is not where this one is. */
  constructor(parts: { home: string; lock: KeeperLock; log: Log; command?: readonly string[]; folder?: string }) {
    this.#home = parts.home;
    this.#lock = parts.lock;
    this.#log = parts.log;
    this.#folder = parts.folder;
    this.#command = parts.command ?? [fileURLToPath(new URL('main.js', import.meta.url)), 'watch', '--detached'];
  }

  /**
   * Sees to it that somebody keeps the fleet. Call it after the row is written that wants keeping: a watchdog that is
   * about to leave looks a last time. Never throws. Two that start one at once end with one: the lock decides.
   */
  async ensure(): Promise<WatchdogOutcome> {
    try {
      if (await this.#lock.isKept()) return 'kept';
      if (performance.now() - this.#startedAtMs < startEveryMs) return 'waiting';
      this.#startedAtMs = performance.now();
      const pid = await this.#start();
      this.#log.info({ watchdog: pid, log: watchLogPath(this.#home) }, 'started the watchdog');
      return 'started';
    } catch (error) {
      this.#log.warn({ error }, 'the watchdog could not be started; leases are kept only while this process runs');
      return 'failed';
    }
  }

  /**
   * In a session of its own, so that no terminal or client takes it along, and with this process's environment, so
   * that it finds the same keys. Nothing secret is in its arguments.
   */
  #start(): Promise<number | undefined> {
    const output = openForAppending(watchLogPath(this.#home));
    try {
      // What it writes before it has its own log, such as a configuration that is broken by now.
      const stdio = ['ignore' as const, output, output];
      const options = { detached: true, windowsHide: true, stdio, ...(this.#folder && { cwd: this.#folder }) };
      const child = spawn(process.execPath, this.#command, options);
      child.unref();
      return new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('spawn', () => resolve(child.pid));
      });
    } finally {
      closeSync(output);
    }
  }
}
