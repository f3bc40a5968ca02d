import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import {
  StreamableHTTPClientTransport,
  type StreamableHTTPClientTransportOptions,
} from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import fastify, { type FastifyInstance } from 'fastify';
import { onTestFinished } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { localPrincipal } from '../../src/principal.ts';
import { checkHostAndOrigin, type HostRules } from '../../src/server/hosts.ts';
import { type HttpMcpSession, type McpOverHttpOptions, mcpOverHttp } from '../../src/server/mcp-http.ts';
import { startWorld, type World } from '../support/world.ts';

export interface HttpWorld extends World {
  server: FastifyInstance;
  /** Of the server, such as `http://127.0.0.1:40123`. */
  url: string;
  /** MCP sessions that were made and not closed yet. */
  open: Set<HttpMcpSession>;
  connect(options?: ConnectOptions): Promise<{ client: Client; transport: StreamableHTTPClientTransport }>;
  connectOldSse(): Promise<{ client: Client; transport: SSEClientTransport }>;
}

export interface ConnectOptions {
  /** What `principalOf` finds. */
  as?: string;
  person?: (question: string) => Promise<'accept' | 'decline'>;
  fetch?: StreamableHTTPClientTransportOptions['fetch'];
}

export interface HttpWorldOptions extends Partial<HostRules> {
  limits?: McpOverHttpOptions['limits'];
  clock?: McpOverHttpOptions['clock'];
}

/** The real app and sandbox, with MCP over real HTTP on loopback. All of it ends with the test. */
export async function startHttpWorld(options: HttpWorldOptions = {}): Promise<HttpWorld> {
  const world = await startWorld();
  const { allowedHosts = [], allowedOrigins = [], clock = systemClock, limits = {} } = options;
  const open = new Set<HttpMcpSession>();
  const server = fastify();
  server.addHook('onRequest', checkHostAndOrigin({ allowedHosts, allowedOrigins }));
  await server.register(
    mcpOverHttp({
      createSession() {
        const session = world.app.createSession({});
        const counted: HttpMcpSession = {
          connect: (transport) => session.connect(transport),
          close: () => session.close(),
          set onClose(listener: () => void) {
            session.onClose = () => {
              open.delete(counted);
              listener();
            };
          },
        };
        open.add(counted);
        return counted;
      },
      principalOf: ({ headers }) => ({ ...localPrincipal, id: String(headers['x-test-principal'] ?? 'local') }),
      mayStay: async () => true,
      clock,
      log: world.app.log,
      limits,
    }),
  );
  server.get('/other', async () => ({ ok: true }));
  await server.listen({ host: '127.0.0.1', port: 0 });
  const url = `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`;
  onTestFinished(() => server.close());

  const connectWith = async <Kind extends Transport>(transport: Kind, person?: ConnectOptions['person']) => {
    const client = new Client({ name: 'test', version: '1' }, { capabilities: person ? { elicitation: {} } : {} });
    if (person)
      client.setRequestHandler(ElicitRequestSchema, async ({ params }) => ({ action: await person(params.message) }));
    await client.connect(transport);
    onTestFinished(() => client.close());
    return { client, transport };
  };
  return {
    ...world,
    server,
    url,
    open,
    connect({ as = 'local', person, fetch } = {}) {
      const requestInit = { headers: { 'x-test-principal': as } };
      const transport = new StreamableHTTPClientTransport(new URL(`${url}/mcp`), {
        requestInit,
        ...(fetch && { fetch }),
      });
      return connectWith(transport, person);
    },
    connectOldSse: () => connectWith(new SSEClientTransport(new URL(`${url}/sse`))),
  };
}

export const initialize = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

export const listTools = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} };

export interface RawOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: unknown;
}

export interface RawAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  /** Of an answer in JSON. */
  json: any;
}

/** One request with exactly these headers, `Host` too, which `fetch` would not send. Waits for the end of the answer. */
export function send(url: string, { method = 'GET', headers = {}, body }: RawOptions = {}): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers, agent: false }, async (response) => {
      let text = '';
      try {
        for await (const piece of response.setEncoding('utf8')) text += piece;
      } catch (error) {
        reject(error);
      }
      const isJson = response.headers['content-type']?.startsWith('application/json');
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        text,
        json: isJson ? JSON.parse(text) : null,
      });
    });
    request.on('error', reject);
    request.end(body === undefined || typeof body === 'string' ? body : JSON.stringify(body));
  });
}

/** A message to `/mcp`, as a well-behaved client sends it unless told otherwise. */
export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<RawAnswer> {
  return send(`${url}/mcp`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2025-11-25',
      ...headers,
    },
    body,
  });
}

/** The `data` and ids of an SSE text. */
export function readEvents(text: string): { id: string | undefined; message: any }[] {
  return text
    .split('\n\n')
    .filter((block) => /^data: ?/m.test(block))
    .map((block) => {
      const data = /^data: ?(.*)$/m.exec(block)?.[1] ?? '';
      return { id: /^id: (.*)$/m.exec(block)?.[1], message: data === '' ? null : JSON.parse(data) };
    });
}
