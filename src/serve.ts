import { Console } from 'node:console';
import type { App } from './app.ts';
import { AppError } from './errors.ts';
import { onProcessEnd } from './process-end.ts';

export interface ServeOptions {
  host: string;
  port: number;
  onlyTools?: readonly string[] | undefined;
  readOnly?: boolean;
  /** Run after everything is closed. */
  cleanUp(): Promise<void>;
}

/** Serves HTTP until it is told to stop; then finishes what it has begun. A second signal ends it at once. */
export async function serveHttp(app: App, options: ServeOptions): Promise<void> {
  globalThis.console = new Console(process.stderr);
  const server = await app.createHttpServer(options);
  let stopping = false;
  const stop = async (why: string, exitCode = 0) => {
    if (stopping) process.exit(exitCode || 1);
    stopping = true;
    app.log.info({ why }, 'stopping');
    try {
      await server.close();
      await app.close();
      await options.cleanUp();
    } catch (error) {
      app.log.error({ error }, 'could not stop cleanly');
    }
    process.exit(exitCode);
  };
  onProcessEnd(app.log, stop);
  try {
    const url = await server.listen(options.port);
    process.stderr.write(`Tandem listens on ${url}: OpenAI-compatible API at ${url}/v1, MCP at ${url}/mcp\n`);
  } catch (error) {
    await app.close();
    await options.cleanUp();
    throw toStartError(error, options);
  }
}

function toStartError(error: unknown, { host, port }: ServeOptions): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE')
    return new AppError('config_invalid', `Port ${port} of ${host} is taken.`, {
      next: 'Stop what uses it, or give another --port.',
    });
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    return new AppError('config_invalid', `Tandem cannot listen on ${host}, port ${port} (${code}).`, {
      next: 'Give another --host or --port.',
    });
  return error;
}
