import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { isInitializeRequest, type JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Principal } from '../principal.ts';
import { type EventLimits, EventStore } from './event-store.ts';
import { answerBadBodies, readJson, refuse, refuseFull, refuseUnknownSession } from './json-rpc.ts';
import { McpSessions, type SessionEntry, type SessionLimits } from './mcp-sessions.ts';
import { hijack, sendEvents, startKeepAlive } from './streams.ts';
import { dropUnusedConnections } from './unused-connections.ts';

/** The MCP server behind one connection, of one client. */
export interface HttpMcpSession {
  connect(transport: Transport): Promise<void>;
  close(): Promise<void>;
  /** Run once when the connection is over. */
  set onClose(listener: () => void);
}

export interface McpOverHttpLimits extends SessionLimits {
  /** The longest message that is read. */
  bodyBytes: number;
  /** What each session keeps for clients that lost a stream. */
  events: EventLimits;
  /** How long a stream may be silent before a comment is sent. */
  keepAliveMs: number;
}

export interface McpOverHttpOptions {
  createSession(principal: Principal): HttpMcpSession;
  /** Who asks; a hook before has made sure that it is somebody. */
  principalOf(request: FastifyRequest): Principal;
  /** False when a principal would not be let in again: a token that was revoked. Its sessions end. */
  mayStay(principal: Principal): Promise<boolean>;
  /** Aborted when the server stops: before it waits for its connections. */
  stop?: AbortSignal;
  clock: Clock;
  log: Log;
  limits?: Partial<McpOverHttpLimits>;
}

const usualLimits: McpOverHttpLimits = {
  sessions: 200,
  sessionsPerPrincipal: 50,
  idleMs: 30 * 60_000,
  bodyBytes: 16 * 1024 * 1024,
  events: { events: 1_000, bytes: 1024 * 1024 },
  keepAliveMs: 25_000,
};

/** How long clients wait before they ask for the rest of a lost stream. */
const reconnectAfterMs = 1_000;

type Connection =
  | { kind: 'streamable'; transport: StreamableHTTPServerTransport; events: EventStore<JSONRPCMessage> }
  | { kind: 'sse'; transport: SSEServerTransport };
type Of<Kind extends Connection['kind']> = SessionEntry<Connection & { kind: Kind }>;

interface Shared extends McpOverHttpOptions {
  limits: McpOverHttpLimits;
  sessions: McpSessions<Connection>;
}

/** MCP over HTTP: Streamable HTTP at `/mcp`, and the older HTTP+SSE at `/sse` and `/messages`. */
export function mcpOverHttp(options: McpOverHttpOptions): FastifyPluginAsync {
  return async (app) => {
    const limits = { ...usualLimits, ...options.limits };
    const sessions = new McpSessions<Connection>(limits, options.clock, options.log);
    const shared = { ...options, limits, sessions };
    readJson(app);
    answerBadBodies(app);
    addStreamableHttp(app, shared);
    addOldSse(app, shared);
    dropUnusedConnections(app);
    void sessions.watch(options.mayStay);
    // Before the server waits for its connections: a stream would hold it up for ever.
    app.addHook('preClose', () => sessions.closeAll());
    options.stop?.addEventListener('abort', () => sessions.closeAll());
  };
}

function addStreamableHttp(app: FastifyInstance, shared: Shared): void {
  const bodyLimit = shared.limits.bodyBytes;
  app.post('/mcp', { bodyLimit }, async (request, reply) => {
    if (request.body === undefined) return refuse(reply, 400, -32700, 'Parse error: the body is empty.');
    // A batch would be a single request to every limit. MCP took batches up in 2025-03 and gave them up in 2025-06.
    if (Array.isArray(request.body))
      return refuse(reply, 400, -32600, 'Invalid Request: batches are not taken. Send each message by itself.');
    if (request.headers['mcp-session-id'] === undefined && isInitializeRequest(request.body))
      return open(shared, request, reply);
    const session = findStreamable(shared, request, reply);
    if (session) await handOver(shared, session, request, reply);
    return reply;
  });
  app.get('/mcp', { exposeHeadRoute: false }, async (request, reply) => {
    const session = findStreamable(shared, request, reply);
    if (!session) return reply;
    const lastEventId = request.headers['last-event-id'];
    const rest = typeof lastEventId === 'string' ? session.connection.events.restOfEndedStream(lastEventId) : null;
    // The SDK would leave the stream open after the answer, for nothing.
    if (rest) sendEvents(hijack(reply), session.id, rest);
    else await handOver(shared, session, request, reply);
    return reply;
  });
  app.delete('/mcp', { bodyLimit }, async (request, reply) => {
    const session = findStreamable(shared, request, reply);
    if (session) await handOver(shared, session, request, reply);
    return reply;
  });
  app.route({
    method: ['PUT', 'PATCH'],
    url: '/mcp',
    handler: async (_request, reply) =>
      refuse(reply.header('allow', 'GET, POST, DELETE'), 405, -32000, 'Method not allowed.'),
  });
}

/** Answers `initialize` without a session: a new one, if there is room. */
async function open(shared: Shared, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { sessions, limits } = shared;
  const principal = shared.principalOf(request);
  const full = sessions.fullFor(principal);
  if (full) return refuseFull(reply, full);
  const id = randomUUID();
  const events = new EventStore<JSONRPCMessage>(limits.events);
  const mcp = shared.createSession(principal);
  let initialized = false;
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => id,
    eventStore: events,
    retryInterval: reconnectAfterMs,
    keepAliveMs: limits.keepAliveMs,
    onsessioninitialized: () => {
      initialized = true;
    },
  });
  const connection = { kind: 'streamable' as const, transport, events };
  const entry = { id, principal, connection, close: () => mcp.close() };
  sessions.add(entry);
  mcp.onClose = () => sessions.forget(id);
  try {
    await mcp.connect(transport);
    await handOver(shared, entry, request, reply);
  } finally {
    // Refused, for instance for what it accepts: nobody knows the id.
    if (!initialized) await mcp.close();
  }
  return reply;
}

function findStreamable(shared: Shared, request: FastifyRequest, reply: FastifyReply): Of<'streamable'> | undefined {
  const id = request.headers['mcp-session-id'];
  if (typeof id !== 'string') {
    refuse(reply, 400, -32000, 'Bad Request: the Mcp-Session-Id header is missing. Send initialize first.');
    return undefined;
  }
  const entry = shared.sessions.find(id, shared.principalOf(request));
  if (entry && isOf(entry, 'streamable')) return entry;
  refuseUnknownSession(reply);
  return undefined;
}

/** Lets the SDK answer, and keeps the session from expiring until it has. */
async function handOver(
  { sessions }: Shared,
  { id, connection }: Of<'streamable'>,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const raw = hijack(reply);
  holdUntilClosed(sessions, id, raw);
  await connection.transport.handleRequest(request.raw, raw, request.body);
}

function addOldSse(app: FastifyInstance, shared: Shared): void {
  const { sessions, limits } = shared;
  app.get('/sse', { exposeHeadRoute: false }, async (request, reply) => {
    const principal = shared.principalOf(request);
    const full = sessions.fullFor(principal);
    if (full) return refuseFull(reply, full);
    const mcp = shared.createSession(principal);
    const raw = hijack(reply);
    const transport = new SSEServerTransport(`${app.prefix}/messages`, raw);
    const id = transport.sessionId;
    sessions.add({ id, principal, connection: { kind: 'sse', transport }, close: () => mcp.close() });
    mcp.onClose = () => sessions.forget(id);
    holdUntilClosed(sessions, id, raw);
    startKeepAlive(raw, limits.keepAliveMs);
    await mcp.connect(transport);
    if (raw.destroyed) await mcp.close();
    return reply;
  });
  app.post('/messages', { bodyLimit: limits.bodyBytes }, async (request, reply) => {
    if (request.body === undefined || request.body === null)
      return refuse(reply, 400, -32700, 'Parse error: the body is empty.');
    const { sessionId } = request.query as { sessionId?: unknown };
    const entry = typeof sessionId === 'string' ? sessions.find(sessionId, shared.principalOf(request)) : undefined;
    if (!entry || !isOf(entry, 'sse')) return refuseUnknownSession(reply);
    await entry.connection.transport.handlePostMessage(request.raw, hijack(reply), request.body);
    return reply;
  });
}

function holdUntilClosed(sessions: McpSessions<Connection>, id: string, raw: ServerResponse): void {
  const release = sessions.hold(id);
  // It may have gone while hooks were waited for.
  if (raw.destroyed) release();
  else raw.once('close', release);
}

function isOf<Kind extends Connection['kind']>(entry: SessionEntry<Connection>, kind: Kind): entry is Of<Kind> {
  return entry.connection.kind === kind;
}
