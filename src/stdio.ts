import { Console } from 'node:console';
import type { App } from './app.ts';
import { onProcessEnd } from './process-end.ts';

/** Clients kill what does not leave by itself; leave before that, settled or not. */
const longestStopMs = 1_800;

export interface StdioOptions {
  onlyTools?: readonly string[] | undefined;
  readOnly?: boolean;
  /** Run after everything is closed. */
  cleanUp(): Promise<void>;
}

/** Serves one client on stdin and stdout until it hangs up, and then leaves nothing behind. */
export async function serveStdio(app: App, options: StdioOptions): Promise<void> {
  // stdout is the protocol. A dependency that prints to the console must not break it.
  globalThis.console = new Console(process.stderr);
  const session = app.createSession(options);
  let stopping = false;
  const stop = async (why: string, exitCode = 0) => {
    if (stopping) return;
    stopping = true;
    app.log.info({ why }, 'stopping');
    setTimeout(() => process.exit(exitCode), longestStopMs);
    try {
      await session.close();
      await app.close();
      await options.cleanUp();
    } catch (error) {
      app.log.error({ error }, 'could not stop cleanly');
    }
    process.exit(exitCode);
  };
  session.onClose = () => stop('the connection was closed');
  process.stdin.on('end', () => stop('stdin ended'));
  process.stdin.on('close', () => stop('stdin closed'));
  process.stdout.on('error', () => stop('stdout closed'));
  onProcessEnd(app.log, stop);
  await session.connect();
}
