import { setTimeout as delay } from 'node:timers/promises';
import type { App } from './app.ts';
import { AppError } from './errors.ts';
import { onProcessEnd } from './process-end.ts';

/** How often it is looked whether there is anything to keep. */
const lookEveryMs = 5_000;
/** A step that hangs is left where it is: every step of the keeper may be killed at any moment. */
const longestStopMs = 10_000;

export interface WatchOptions {
  /** With nothing to keep for so long, it leaves. Real time. */
  lingerMs: number;
  /** Whether the configuration is another one by now: then it makes room for a process that has read it. */
  isOutdated(): boolean;
  /** Starts that process. */
  succeed(): Promise<void>;
  /** What a person at the terminal should know. */
  say(line: string): void;
  /** Run after everything is closed. */
  cleanUp(): void;
}

/**
 * `tandem watch`: keeps the fleet until there is nothing to keep, somebody else keeps it, or it is told to stop. One
 * per state folder. Killing it loses nothing: the next one goes on from the rows.
 */
export async function watch(app: App, options: WatchOptions): Promise<void> {
  const { lingerMs, say, cleanUp } = options;
  const { log, keeper, keeperLock } = app;
  const stopping = new AbortController();
  let exitCode = 0;
  const stop = (why: string, code = 0) => {
    // A second signal ends it at once.
    if (stopping.signal.aborted) process.exit(code || exitCode || 1);
    exitCode = code;
    log.info({ why }, 'stopping');
    say(`Tandem stops keeping the fleet: ${why}.`);
    setTimeout(() => process.exit(exitCode), longestStopMs);
    stopping.abort(new AppError('cancelled', 'Tandem is closing.'));
  };
  const leave = async () => {
    await app.close();
    cleanUp();
    process.exit(exitCode);
  };
  if (!(await keeperLock.take('watch'))) {
    const row = await keeperLock.state();
    const who = row ? `${row.owner} (tandem ${row.command})` : 'another process';
    log.info({ who }, 'somebody else keeps the fleet');
    say(`${who} keeps the fleet already; nothing to do here.`);
    return leave();
  }
  onProcessEnd(log, stop);
  log.info({ lingerMs }, 'keeping the fleet');

  const { signal } = stopping;
  const keeping = keeper.run(signal).then(
    () => signal.aborted || stop('the keeper ended', 1),
    (error: unknown) => {
      if (signal.aborted) return;
      log.fatal({ error }, 'the keeper failed');
      stop('the keeper failed', 1);
    },
  );
  let stopBeating = beat(app, signal, () => stop('somebody else keeps the fleet now'));
  for (;;) {
    await untilNothingToKeep(app, options, signal);
    await stopBeating();
    if (signal.aborted) break;
    if (options.isOutdated()) {
      stop('the configuration has changed');
      break;
    }
    // Whoever brings work looks for a keeper after it is written. So: give the place back, then look a last time.
    await release(app);
    if (!(await hasWork(app))) stop('there is nothing to keep');
    else if (!(await keeperLock.take('watch').catch(() => true))) stop('somebody else keeps the fleet now');
    stopBeating = beat(app, signal, () => stop('somebody else keeps the fleet now'));
  }
  await keeping;
  await release(app);
  if (options.isOutdated()) await options.succeed();
  await leave();
}

/** Holds the place until the function that it returns is called. */
function beat({ keeperLock }: App, until: AbortSignal, onLost: () => void): () => Promise<void> {
  const stopped = new AbortController();
  const signal = AbortSignal.any([until, stopped.signal]);
  const beating = keeperLock.beat('watch', signal).then((still) => {
    if (!still && !signal.aborted) onLost();
  });
  return () => {
    stopped.abort();
    return beating;
  };
}

async function untilNothingToKeep(
  app: App,
  { lingerMs, isOutdated }: WatchOptions,
  signal: AbortSignal,
): Promise<void> {
  let idleSinceMs = performance.now();
  while (!signal.aborted) {
    if (await hasWork(app)) idleSinceMs = performance.now();
    if (performance.now() - idleSinceMs >= lingerMs || isOutdated()) return;
    await delay(Math.min(lookEveryMs, lingerMs / 4), undefined, { signal }).catch(() => undefined);
  }
}

/** What cannot be read may be work. */
function hasWork({ keeper }: App): Promise<boolean> {
  return keeper.hasWork().catch(() => true);
}

/** When it cannot be given back, it is free half a minute later. */
async function release({ keeperLock, log }: App): Promise<void> {
  await keeperLock.release().catch((error: unknown) => log.warn({ error }, 'the place could not be given back'));
}
