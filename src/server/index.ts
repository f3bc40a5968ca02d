import fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { Clock } from '../clock.ts';
import type { Config } from '../config/index.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Principal } from '../principal.ts';
import type { HealthBook } from '../router/health.ts';
import type { Router } from '../router/router.ts';
import type { Backend } from '../router/types.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { Reports } from '../usage/report.ts';
import { newRequestId } from '../usage/request-id.ts';
import type { TokenBook } from '../usage/tokens.ts';
import { Access, requireSafeBinding } from './access.ts';
import { Connections } from './connections.ts';
import { toAppError } from './failure.ts';
import { gateway } from './gateway.ts';
import { checkHostAndOrigin } from './hosts.ts';
import { identify, needScope, principalOf } from './identify.ts';
import { JwtVerifier } from './jwt.ts';
import { Load } from './load.ts';
import { type HttpMcpSession, mcpOverHttp } from './mcp-http.ts';
import { Metrics } from './metrics.ts';
import { challengeFor, protectedResource } from './oauth.ts';
import { toOpenAiError } from './openai-errors.ts';
import { refuseConnection } from './refuse-connection.ts';
import { status } from './status.ts';

export interface ConnectionLimits {
  /** A request has to arrive within these: whoever sends a byte now and then holds a connection for no longer. */
  headersTimeoutMs: number;
  bodyTimeoutMs: number;
  /** How often that is looked at. */
  checkEveryMs: number;
  /** A caller that has taken nothing of its stream for so long is gone. */
  unreadMs: number;
}

const usualLimits: ConnectionLimits = {
  headersTimeoutMs: 15_000,
  bodyTimeoutMs: 60_000,
  checkEveryMs: 2_000,
  unreadMs: 60_000,
};
const keepAliveTimeoutMs = 75_000;
/** After the grace time: until the last words have left, and connections are cut. */
const lastWordsMs = 500;
/** All bodies that are being worked on together may take so many times the largest one. */
const bodiesAtOnce = 8;

export interface ServerParts {
  config: Pick<Config, 'routing' | 'server' | 'redactor'>;
  /** No prompts, only the tools that change nothing. */
  readOnly: boolean;
  router: Router;
  backends(): readonly Backend[];
  health: HealthBook;
  reports: Reports;
  instances: InstanceLedger;
  tokens: TokenBook;
  /** Throws when the ledger cannot be written. */
  checkLedger(): Promise<void>;
  createSession(principal: Principal): HttpMcpSession;
  /** People's time: of sessions and access tokens. */
  clock: Clock;
  log: Log;
  /** The address to listen on; it decides who may come in without a token. */
  host: string;
  limits?: Partial<ConnectionLimits> | undefined;
}

export interface HttpServer {
  readonly metrics: Metrics;
  /** Resolves to the URL when it takes connections. Throws `config_invalid` when anybody could come in. */
  listen(port: number): Promise<string>;
  /** Takes nothing new, lets answers finish within the grace time, then ends them with an error in the stream. */
  close(): Promise<void>;
}

export async function createHttpServer(parts: ServerParts): Promise<HttpServer> {
  const { config, log, host, tokens } = parts;
  const { maxConcurrentRequests, maxBodyBytes, shutdownGraceMs, oauth } = config.server;
  const limits = { ...usualLimits, ...parts.limits };
  const load = new Load({ requests: maxConcurrentRequests, bodyBytes: bodiesAtOnce * maxBodyBytes });
  const access = new Access({ tokens, oauth: oauth && new JwtVerifier(oauth, parts.clock), host });
  const mayStay = (principal: Principal) => access.mayStay(principal);
  const healthOf = (backend: string) => parts.health.of(backend);
  const metrics = new Metrics({
    backends: parts.backends,
    healthOf,
    budget: () => parts.reports.budget(),
    instanceStatuses: async () => (await parts.instances.live()).map((instance) => instance.status),
    requestsUnderWay: () => load.requests,
  });

  const sendError = (request: FastifyRequest, reply: FastifyReply, thrown: unknown) => {
    const error = toAppError(thrown, log);
    const { status: code, headers, body } = toOpenAiError(error, config.redactor);
    const bearer = request.headers.authorization !== undefined;
    const challenge = challengeFor(error, { oauth, bearer, reached: request });
    if (challenge) reply.header('www-authenticate', challenge);
    return reply.code(code).headers(headers).type('application/json; charset=utf-8').send(body);
  };
  const app = fastify({
    bodyLimit: maxBodyBytes,
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: limits.bodyTimeoutMs,
    trustProxy: config.server.trustedProxies.length > 0 ? config.server.trustedProxies : false,
    genReqId: newRequestId,
    http: { headersTimeout: limits.headersTimeoutMs, connectionsCheckingInterval: limits.checkEveryMs },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id);
      sendError(request, reply, error);
    },
  });
  const connections = new Connections(app.server);
  const stopping = new AbortController();
  app.decorateRequest('principal', null);
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id);
    done();
  });
  app.addHook('onRequest', checkHostAndOrigin(rulesFor(host, config)));
  app.addHook('onRequest', refuseUnknownRoute);
  app.setErrorHandler((error, request, reply) => sendError(request, reply, error));
  if (oauth) await app.register(protectedResource, { oauth });
  await app.register(status({ load, backends: parts.backends, healthOf, checkLedger: parts.checkLedger }));
  await app.register(async (guarded) => {
    guarded.addHook('onRequest', identify(access));
    guarded.get('/metrics', { onRequest: needScope('read') }, async (_request, reply) =>
      reply.type(metrics.contentType).send(await metrics.read()),
    );
    const { unreadMs } = limits;
    await guarded.register(gateway({ ...parts, load, unreadMs, observe: metrics.request }), { prefix: '/v1' });
    await guarded.register(
      mcpOverHttp({ ...parts, principalOf, mayStay, stop: stopping.signal, limits: { bodyBytes: maxBodyBytes } }),
    );
  });

  return {
    metrics,
    async listen(port) {
      requireSafeBinding({ host, hasTokens: await tokens.hasLive(), oauth: oauth !== null });
      return app.listen({ host, port });
    },
    async close() {
      load.stop();
      stopping.abort();
      const grace = setTimeout(
        () => load.cancelAll(new AppError('overloaded', 'Tandem is stopping and cannot finish this answer.')),
        shutdownGraceMs,
      );
      // Callers who read nothing would hold up the end.
      const cut = setTimeout(() => connections.cut(), shutdownGraceMs + lastWordsMs);
      await connections.close();
      clearTimeout(grace);
      clearTimeout(cut);
      await app.close();
    },
  };
}

/** Not in the handler of what is not found: that comes after the body, and nobody asked who sends it. */
function refuseUnknownRoute({ is404, method, url }: FastifyRequest, _reply: unknown, done: (error?: Error) => void) {
  if (!is404) return done();
  const next = 'The OpenAI-compatible API is below /v1, MCP at /mcp.';
  done(new AppError('not_found', `There is nothing at ${method} ${url.slice(0, 200)}.`, { next }));
}

/** The address that it listens on is a name of its own, unless that stands for all addresses. */
function rulesFor(host: string, { server }: ServerParts['config']) {
  const own = ['0.0.0.0', '::', ''].includes(host) ? [] : [host.includes(':') ? `[${host}]` : host];
  return { allowedHosts: [...own, ...server.allowedHosts], allowedOrigins: server.allowedOrigins };
}
