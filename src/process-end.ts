import { AppError } from './errors.ts';
import type { Log } from './log.ts';

/**
 * Calls `stop` when this process is told to end, or meets a bug: then with the exit code 1. What a service, a terminal
 * and a client each send is the same to all commands that stay.
 */
export function onProcessEnd(log: Log, stop: (why: string, exitCode?: number) => unknown): void {
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop(signal));
  process.on('uncaughtException', (error) => {
    log.fatal({ error }, 'unexpected failure');
    stop('a bug', 1);
  });
  process.on('unhandledRejection', (error) => {
    // An abort that nobody waits for any more is no bug.
    if (error instanceof AppError) log.debug({ error: error.message }, 'a promise nobody waited for');
    else log.error({ error }, 'a promise failed that nobody waited for');
  });
}
