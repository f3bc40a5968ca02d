import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApp } from './app.ts';
import { acceleratedClock } from './clock.ts';
import { loadConfig, onlyManners } from './config/index.ts';
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
  if (options.sandbox) return startInSandbox(options);
  const app = await createApp(loadConfig());
  await serveStdio(app, { ...options, cleanUp: async () => undefined });
}

/** Nothing of the real world is read: no keys, no file, no ledger. Its state lives in a folder that goes with it. */
async function startInSandbox(options: StartOptions): Promise<void> {
  const { startSandbox } = await import('./sandbox/index.ts');
  const clock = acceleratedClock(sandboxSpeed);
  const sandbox = await startSandbox({ clock });
  const home = await mkdtemp(join(tmpdir(), 'tandem-sandbox-'));
  const file = join(home, 'tandem.yaml');
  await writeFile(file, sandbox.configYaml);
  const config = loadConfig(onlyManners({ ...sandbox.environment, TANDEM_HOME: home, TANDEM_CONFIG: file }));
  const app = await createApp(config, { clock, sandbox });
  await serveStdio(app, {
    ...options,
    async cleanUp() {
      await sandbox.close();
      await rm(home, { recursive: true, force: true });
    },
  });
}
