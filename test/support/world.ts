import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { onTestFinished } from 'vitest';
import { type App, createApp } from '../../src/app.ts';
import { acceleratedClock, type Clock } from '../../src/clock.ts';
import { loadConfig } from '../../src/config/index.ts';
import type { Principal } from '../../src/principal.ts';
import { type Sandbox, type SandboxOptions, startSandbox } from '../../src/sandbox/index.ts';
import { type Database, openDatabase } from '../../src/usage/database.ts';
import { temporaryFolder } from './folder.ts';

export interface CallResult {
  isError: boolean;
  text: string;
  /** `structuredContent`; empty on errors. */
  result: Record<string, any>;
}

export interface World {
  sandbox: Sandbox;
  app: App;
  client: Client;
  home: string;
  clock: Clock;
  call(tool: string, input?: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<CallResult>;
  /** Another session on the same app, for somebody else. */
  connectAs(principal: Principal): Promise<{ client: Client; call: World['call'] }>;
  /** Reads the ledger beside the running app, through a connection of its own. */
  readLedger<Result>(read: (database: Database) => Promise<Result>): Promise<Result>;
}

export interface WorldOptions {
  /** Instead of the sandbox's own `tandem.yaml`; gets its URL. */
  yaml?: (sandbox: Sandbox) => string;
  environment?: Record<string, string>;
  clock?: Clock;
  scenario?: SandboxOptions['scenario'];
  /** What the person answers when the client asks; without it the client cannot ask. */
  person?: (question: string) => 'accept' | 'decline' | 'cancel';
  readOnly?: boolean;
  onlyTools?: string[];
}

/** Sandbox, app and a real MCP client, in one process; time runs fast, pacing is on. All of it ends with the test. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const clock = options.clock ?? acceleratedClock(500);
  const sandbox = await startSandbox({
    ...{ clock, firstTokenMs: 0, millisecondsPerPiece: 0 },
    ...(options.scenario && { scenario: options.scenario }),
  });
  const home = temporaryFolder();
  const file = join(home, 'tandem.yaml');
  writeFileSync(file, options.yaml?.(sandbox) ?? sandbox.configYaml);
  const config = loadConfig({
    ...sandbox.environment,
    TANDEM_HOME: home,
    TANDEM_CONFIG: file,
    TANDEM_LOG_LEVEL: 'silent',
    ...options.environment,
  });
  const app = await createApp(config, { clock, sandbox });
  onTestFinished(async () => {
    await app.close();
    await sandbox.close();
  });
  const connect = async (principal?: Principal) => {
    const session = app.createSession({
      readOnly: options.readOnly === true,
      onlyTools: options.onlyTools,
      ...(principal && { principal }),
    });
    const client = new Client(
      { name: 'test', version: '1' },
      { capabilities: options.person ? { elicitation: { form: {} } } : {} },
    );
    if (options.person) {
      const { person } = options;
      client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: person(params.message), content: {} }));
    }
    const [clientSide, serverSide] = InMemoryTransport.createLinkedPair();
    await Promise.all([session.connect(serverSide), client.connect(clientSide)]);
    // Runs before what was registered earlier: sessions end before the app does.
    onTestFinished(async () => {
      await client.close();
      await session.close();
    });
    return { client, call: callsOf(client) };
  };
  const { client, call } = await connect();
  return {
    sandbox,
    app,
    client,
    home,
    clock,
    call,
    connectAs: connect,
    async readLedger(read) {
      const database = await openDatabase(join(home, 'tandem.db'));
      try {
        return await read(database);
      } finally {
        await database.close();
      }
    },
  };
}

function callsOf(client: Client): World['call'] {
  return async (tool, input = {}, { signal } = {}) => {
    const answer = await client.callTool({ name: tool, arguments: input }, undefined, signal ? { signal } : undefined);
    const [first] = answer.content as { text?: string }[];
    return {
      isError: answer.isError === true,
      text: first?.text ?? '',
      result: (answer.structuredContent ?? {}) as Record<string, any>,
    };
  };
}
