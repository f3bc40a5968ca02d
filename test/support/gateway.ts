import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Selectable } from 'kysely';
import OpenAI from 'openai';
import { onTestFinished } from 'vitest';
import { type App, createApp } from '../../src/app.ts';
import { type Clock, systemClock } from '../../src/clock.ts';
import { loadConfig } from '../../src/config/index.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/index.ts';
import type { ConnectionLimits } from '../../src/server/index.ts';
import { type Database, openDatabase } from '../../src/usage/database.ts';
import type { Tables } from '../../src/usage/tables.ts';
import { temporaryFolder } from './folder.ts';
import { waitFor } from './process.ts';
import { type BackendYaml, yamlFor } from './yaml.ts';

export interface GatewayOptions {
  /** Instead of the sandbox's own `tandem.yaml`: these backends, and the rest of the file. */
  backends?: BackendYaml[];
  rest?: Record<string, unknown>;
  environment?: Record<string, string>;
  /** Before Tandem opens its ledger there. */
  home?: string;
  clock?: Clock;
  millisecondsPerPiece?: number;
  limits?: Partial<ConnectionLimits>;
}

export interface Gateway {
  sandbox: Sandbox;
  app: App;
  /** Where it listens, without a path. */
  origin: string;
  port: number;
  home: string;
  openai: OpenAI;
  /** Sends a body, an object as JSON and a text as it is. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Asks for a chat completion; fields beside the model are optional. */
  chat(fields: Record<string, unknown> & { model: string }): Promise<Response>;
  readLedger<Result>(read: (database: Database) => Promise<Result>): Promise<Result>;
  /** All rows, in the order of their requests. */
  attempts(): Promise<Selectable<Tables['attempt']>[]>;
  /** The rows, once none is open and there are so many of them. */
  settled(count: number): Promise<Selectable<Tables['attempt']>[]>;
  reservedNanoUsd(): Promise<number>;
  close(): Promise<void>;
}

/** Sandbox, app and its HTTP server on a free port. All of it ends with the test. */
export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const clock = options.clock ?? systemClock;
  const { millisecondsPerPiece = 0 } = options;
  const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece });
  const home = options.home ?? temporaryFolder();
  const file = join(temporaryFolder(), 'tandem.yaml');
  const { backends, rest = {} } = options;
  writeFileSync(file, backends ? yamlFor(sandbox, backends, rest) : sandbox.configYaml + toYaml(rest));
  const config = loadConfig({
    ...sandbox.environment,
    TANDEM_HOME: home,
    TANDEM_CONFIG: file,
    TANDEM_LOG_LEVEL: 'silent',
    ...options.environment,
  });
  const app = await createApp(config, { clock, sandbox });
  const server = await app.createHttpServer({ ...(options.limits && { limits: options.limits }) });
  const origin = await server.listen(0);
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= server.close();
    return closing;
  };
  onTestFinished(async () => {
    await close();
    await app.close();
    await sandbox.close();
  });
  const gateway: Gateway = {
    sandbox,
    app,
    origin,
    port: Number(new URL(origin).port),
    home,
    close,
    openai: new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'unused', maxRetries: 0 }),
    post: (path, body, headers = {}) =>
      fetch(origin + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    chat: (fields) => gateway.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'Hi' }], ...fields }),
    async readLedger(read) {
      const database = await openDatabase(join(home, 'tandem.db'));
      try {
        return await read(database);
      } finally {
        await database.close();
      }
    },
    attempts: () =>
      gateway.readLedger(({ read }) => read.selectFrom('attempt').selectAll().orderBy('started_at_ms').execute()),
    async settled(count) {
      await waitFor(async () => {
        const rows = await gateway.attempts();
        return rows.length === count && rows.every(({ status }) => status !== 'open');
      }, `${count} settled rows`);
      return (await gateway.attempts()).toSorted((one, other) => one.ordinal - other.ordinal);
    },
    reservedNanoUsd: () =>
      gateway.readLedger(async ({ read }) => {
        const rows = await read.selectFrom('budget_period').select('reserved_nano_usd').execute();
        return rows.reduce((sum, row) => sum + row.reserved_nano_usd, 0);
      }),
  };
  return gateway;
}

function toYaml(rest: Record<string, unknown>): string {
  return Object.entries(rest)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    .join('');
}

/** What a stream of events says: its chunks, and whether the mark of its end was there. */
export function readEvents(text: string): { chunks: Record<string, any>[]; text: string; done: boolean } {
  const data = text.split(/\r?\n\r?\n/).flatMap((event) => {
    const lines = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
    return lines.length > 0 ? [lines.map((line) => line.slice(5).trim()).join('\n')] : [];
  });
  const chunks = data.filter((entry) => entry !== '[DONE]').map((entry) => JSON.parse(entry) as Record<string, any>);
  return {
    chunks,
    text: chunks.map((one) => one.choices?.[0]?.delta?.content ?? one.choices?.[0]?.text ?? '').join(''),
    done: data.at(-1) === '[DONE]',
  };
}
