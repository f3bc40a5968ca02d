import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { Config } from '../config/index.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { localPrincipal } from '../principal.ts';
import type { HealthBook } from '../router/health.ts';
import type { Router } from '../router/router.ts';
import type { Backend } from '../router/types.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { Reports } from '../usage/report.ts';
import { newRequestId } from '../usage/request-id.ts';
import { toAppError } from './failure.ts';
import { gateway } from './gateway.ts';
import { Load } from './load.ts';
import { Metrics } from './metrics.ts';
import { toOpenAiError } from './openai-errors.ts';
import { status } from './status.ts';

/** A request has to arrive within these: whoever sends a byte now and then holds a connection for no longer. */
const headersTimeoutMs = 15_000;
const bodyTimeoutMs = 60_000;
const keepAliveTimeoutMs = 75_000;
const connectionsCheckMs = 2_000;
/** All bodies that are being worked on together may take so many times the largest one. */
const bodiesAtOnce = 8;

export interface ServerParts {
  config: Pick<Config, 'routing' | 'server' | 'redactor'>;
  router: Router;
  backends(): readonly Backend[];
  health: HealthBook;
  reports: Reports;
  instances: InstanceLedger;
  log: Log;
}

export interface HttpServer {
  readonly metrics: Metrics;
  /** Resolves to the URL when it takes connections. */
  listen(address: { host: string; port: number }): Promise<string>;
  /** Takes nothing new, lets answers finish within the grace time, then ends them with an error in the stream. */
  close(): Promise<void>;
}

export async function createHttpServer(parts: ServerParts): Promise<HttpServer> {
  const { config, log } = parts;
  const { maxConcurrentRequests, maxBodyBytes, shutdownGraceMs } = config.server;
  const load = new Load({ requests: maxConcurrentRequests, bodyBytes: bodiesAtOnce * maxBodyBytes });
  const healthOf = (backend: string) => parts.health.of(backend);
  const metrics = new Metrics({
    backends: parts.backends,
    healthOf,
    budget: () => parts.reports.budget(),
    instanceStatuses: async () => (await parts.instances.live()).map((instance) => instance.status),
    requestsUnderWay: () => load.requests,
  });
  const app = fastify({
    bodyLimit: maxBodyBytes,
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: bodyTimeoutMs,
    forceCloseConnections: 'idle',
    genReqId: newRequestId,
    http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: connectionsCheckMs },
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  answerErrors(app, parts);
  await app.register(
    gateway({ ...parts, load, principalOf: (_request: FastifyRequest) => localPrincipal, observe: metrics.request }),
    { prefix: '/v1' },
  );
  await app.register(
    status({
      metrics,
      load,
      backends: parts.backends,
      healthOf,
      checkLedger: () => parts.reports.budget(),
      requireRead: () => undefined,
    }),
  );
  return {
    metrics,
    listen: (address) => app.listen(address),
    async close() {
      load.stop();
      const grace = setTimeout(
        () => load.cancelAll(new AppError('overloaded', 'Tandem is stopping and cannot finish this answer.')),
        shutdownGraceMs,
      );
      await app.close();
      clearTimeout(grace);
    },
  };

  function answerErrors(server: FastifyInstance, { config: { redactor } }: ServerParts): void {
    server.setErrorHandler((error, _request, reply) => {
      const { status, headers, body } = toOpenAiError(toAppError(error, log), redactor);
      return reply.code(status).headers(headers).type('application/json; charset=utf-8').send(body);
    });
    server.setNotFoundHandler(({ method, url }) => {
      throw new AppError('not_found', `There is nothing at ${method} ${url.slice(0, 200)}.`, {
        next: 'The OpenAI-compatible API is below /v1.',
      });
    });
  }
}
