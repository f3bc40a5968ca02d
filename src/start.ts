import { existsSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type App, type AppOptions, createApp, requireStartable } from './app.ts';
import { acceleratedClock } from './clock.ts';
import { loadConfig, onlyManners } from './config/index.ts';
import { AppError } from './errors.ts';
import { isLoopback } from './http.ts';
import { openLogFile } from './log-file.ts';
import type { ScenarioName } from './sandbox/scenarios.ts';
import { serveHttp } from './serve.ts';
import { serveStdio } from './stdio.ts';
import { selectTools } from './tools/index.ts';
import { watch } from './watch.ts';
import { Watchdog, watchLogPath } from './watchdog.ts';

export interface StartOptions {
  sandbox: boolean;
  /** What the sandbox is like at the start; undefined: as usual. */
  scenario: ScenarioName | undefined;
  readOnly: boolean;
  onlyTools: readonly string[] | undefined;
}

/** The default command: the MCP server on stdio, in the real world or in the sandbox. */
export async function start(options: StartOptions): Promise<void> {
  selectTools({ readOnly: options.readOnly, only: options.onlyTools });
  const { app, cleanUp } = await open(options, { callsWatchdog: true });
  await serveStdio(app, { ...options, cleanUp });
}

/** `tandem serve`: the same over HTTP, for many clients. */
export async function startServer(options: StartOptions & { host: string; port: number }): Promise<void> {
  selectTools({ readOnly: options.readOnly, only: options.onlyTools });
  // Tokens are in the real ledger, so nobody could be told apart.
  if (options.sandbox && !isLoopback(options.host)) {
    throw new AppError('config_invalid', `The sandbox has no tokens, and on ${options.host} others could reach it.`, {
      next: 'Run: tandem serve --sandbox --host 127.0.0.1',
    });
  }
  const { app, cleanUp } = await open(options, { command: 'serve' });
  await serveHttp(app, { ...options, cleanUp });
}

/** `tandem watch`: keeps the fleet of the real world, without a client. */
export async function startWatch({ lingerMs, detached }: { lingerMs: number; detached: boolean }): Promise<void> {
  const config = loadConfig();
  const logFile = openLogFile(watchLogPath(config.home));
  const app = await createApp(config, { writeLog: logFile.write, command: 'watch', keep: false });
  const startedIn = process.cwd();
  // Paths were made absolute by now; it lives long, and should hold no folder of somebody else.
  process.chdir(config.home);
  const say = (line: string) => void (detached || process.stderr.write(`${line}\n`));
  say(`Tandem keeps the fleet of ${config.home}; its log is ${logFile.path}.`);
  const file = config.file ?? join(config.home, 'tandem.yaml');
  const read = fingerprintOf(file);
  await watch(app, {
    lingerMs,
    isOutdated: () => fingerprintOf(file) !== read && isStartable(startedIn),
    succeed: async () => {
      const { keeperLock: lock, log } = app;
      // Named from there are files and commands that hold keys.
      const folder = existsSync(startedIn) ? startedIn : config.home;
      await new Watchdog({ home: config.home, lock, log, folder }).ensure();
    },
    say,
    cleanUp: () => logFile.close(),
  });
}

/** Changes when the file does. */
function fingerprintOf(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat ? `${stat.mtimeMs} ${stat.size} ${stat.ino}` : '';
}

/** A file that is being written, or that no start would take, is no reason to stop keeping. */
function isStartable(startedIn: string): boolean {
  try {
    requireStartable(loadConfig(undefined, startedIn));
    return true;
  } catch {
    return false;
  }
}

interface World {
  app: App;
  /** Run after the app is closed. */
  cleanUp(): Promise<void>;
}

/** Read-only or not, the fleet is kept: that is about what callers may do, and leases must end. */
async function open({ sandbox, scenario }: StartOptions, options: AppOptions): Promise<World> {
  if (sandbox) return openSandbox(scenario);
  return { app: await createApp(loadConfig(), options), cleanUp: async () => undefined };
}

/** Nothing of the real world is read: no keys, no file, no ledger. Its state lives in a folder that goes with it. */
async function openSandbox(name: ScenarioName = 'usual'): Promise<World> {
  const [{ startSandbox }, { scenarios }] = await Promise.all([
    import('./sandbox/index.ts'),
    import('./sandbox/scenarios.ts'),
  ]);
  const { speed, startsAt } = scenarios[name];
  const clock = acceleratedClock(speed, startsAt === null ? undefined : Date.parse(startsAt));
  const sandbox = await startSandbox({ clock, scenario: name });
  const home = await mkdtemp(join(tmpdir(), 'tandem-sandbox-'));
  const file = join(home, 'tandem.yaml');
  await writeFile(file, sandbox.configYaml);
  const config = loadConfig(onlyManners({ ...sandbox.environment, TANDEM_HOME: home, TANDEM_CONFIG: file }));
  return {
    app: await createApp(config, { clock, sandbox }),
    async cleanUp() {
      await sandbox.close();
      await rm(home, { recursive: true, force: true });
    },
  };
}
