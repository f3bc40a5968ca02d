import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type App, createApp } from './app.ts';
import { acceleratedClock } from './clock.ts';
import { loadConfig, onlyManners } from './config/index.ts';
import { AppError } from './errors.ts';
import { isLoopback } from './http.ts';
import { serveHttp } from './serve.ts';
import { serveStdio } from './stdio.ts';
import { selectTools } from './tools/index.ts';

/** In the sandbox a boot of four minutes takes eight seconds. */
const sandboxSpeed = 30;

export interface StartOptions {
  sandbox: boolean;
  readOnly: boolean;
  onlyTools: readonly string[] | undefined;
}

/** The default command: the MCP server on stdio, in the real world or in the sandbox. */
export async function start(options: StartOptions): Promise<void> {
  selectTools({ readOnly: options.readOnly, only: options.onlyTools });
  const { app, cleanUp } = await open(options.sandbox);
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
  const { app, cleanUp } = await open(options.sandbox);
  await serveHttp(app, { ...options, cleanUp });
}

interface World {
  app: App;
  /** Run after the app is closed. */
  cleanUp(): Promise<void>;
}

async function open(inSandbox: boolean): Promise<World> {
  if (inSandbox) return openSandbox();
  return { app: await createApp(loadConfig()), cleanUp: async () => undefined };
}

/** Nothing of the real world is read: no keys, no file, no ledger. Its state lives in a folder that goes with it. */
async function openSandbox(): Promise<World> {
  const { startSandbox } = await import('./sandbox/index.ts');
  const clock = acceleratedClock(sandboxSpeed);
  const sandbox = await startSandbox({ clock });
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
