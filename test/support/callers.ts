import { request } from 'node:http';
import type { Principal, Scope } from '../../src/principal.ts';
import { type Gateway, type GatewayOptions, startGateway } from './gateway.ts';

export interface RawAnswer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

export interface Guarded extends Gateway {
  /** Makes a token and returns the header with which its holder comes. */
  holder(scopes: readonly Scope[], about?: HolderOptions): Promise<Holder>;
  /** Exactly this path and these headers: `fetch` would tidy them up. */
  ask(method: string, path: string, headers?: Headers, body?: unknown): Promise<RawAnswer>;
  /** Opens an MCP session and returns the headers for what follows in it. */
  openMcp(headers: Headers): Promise<Headers>;
  /** One JSON-RPC request in a session; its answer. */
  rpc(session: Headers, method: string, params?: Record<string, unknown>): Promise<Record<string, any>>;
  callTool(session: Headers, name: string, input?: Record<string, unknown>): Promise<Record<string, any>>;
}

export interface HolderOptions {
  budget?: Principal['budget'];
  requestsPerMinute?: number;
  validMs?: number;
}

export interface Holder {
  id: string;
  name: string;
  secret: string;
  headers: Headers;
}

type Headers = Record<string, string | string[]>;

export const asJson = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

export const initialize = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
};

/** A server that asks who comes: one token exists already. */
export async function startGuarded(options: GatewayOptions = {}): Promise<Guarded> {
  const gateway = await startGateway(options);
  let made = 0;
  const guarded: Guarded = {
    ...gateway,
    async holder(scopes, { budget = null, requestsPerMinute, validMs } = {}) {
      made += 1;
      const { token, secret } = await gateway.app.tokens.create({
        name: `holder-${made}`,
        scopes,
        budget,
        requestsPerMinute: requestsPerMinute ?? null,
        validMs: validMs ?? null,
      });
      return { id: token.id, name: token.name, secret, headers: { authorization: `Bearer ${secret}` } };
    },
    ask: (method, path, headers = {}, body = undefined) =>
      new Promise((resolve, reject) => {
        const { port } = gateway;
        const sent = request({ port, host: '127.0.0.1', method, path, headers, agent: false }, async (response) => {
          let text = '';
          try {
            for await (const piece of response.setEncoding('utf8')) text += piece;
          } catch (error) {
            reject(error);
          }
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
        });
        sent.on('error', reject);
        sent.end(body === undefined || typeof body === 'string' ? body : JSON.stringify(body));
      }),
    async openMcp(headers) {
      const answer = await guarded.ask('POST', '/mcp', { ...asJson, ...headers }, initialize);
      const id = answer.headers['mcp-session-id'];
      if (typeof id !== 'string') throw new Error(`no session: ${answer.status} ${answer.text}`);
      return { ...headers, 'mcp-session-id': id };
    },
    async rpc(session, method, params = {}) {
      const body = { jsonrpc: '2.0', id: 1, method, params };
      const { text, status } = await guarded.ask('POST', '/mcp', { ...asJson, ...session }, body);
      const [message] = messagesOf(text).filter(({ id }) => id === 1);
      return message ?? { status, text };
    },
    callTool: (session, name, input = {}) => guarded.rpc(session, 'tools/call', { name, arguments: input }),
  };
  await guarded.holder(['read']);
  return guarded;
}

/** The messages of an answer, streamed or not. */
export function messagesOf(text: string): Record<string, any>[] {
  if (text.startsWith('{')) return [JSON.parse(text)];
  return [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data = '']) => JSON.parse(data));
}
