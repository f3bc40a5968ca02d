import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Config } from '../config/index.ts';
import { AppError } from '../errors.ts';
import type { Log } from '../log.ts';
import { localPrincipal } from '../principal.ts';
import type { Router } from '../router/router.ts';
import type { Backend } from '../router/types.ts';
import { newRequestId } from '../usage/request-id.ts';
import { Connections } from './connections.ts';
import { toAppError } from './failure.ts';
import { gateway } from './gateway.ts';
import { Load } from './load.ts';
import { toOpenAiError } from './openai-errors.ts';
import { refuseConnection } from './refuse-connection.ts';

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
  router: Router;
  backends(): readonly Backend[];
  log: Log;
  limits?: Partial<ConnectionLimits> | undefined;
}

export interface HttpServer {
  /** Resolves to the URL when it takes connections. */
  listen(address: { host: string; port: number }): Promise<string>;
  /** Takes nothing new, lets answers finish within the grace time, then ends them with an error in the stream. */
  close(): Promise<void>;
}

export async function createHttpServer(parts: ServerParts): Promise<HttpServer> {
  const { config, log } = parts;
  const { maxConcurrentRequests, maxBodyBytes, shutdownGraceMs } = config.server;
  const limits = { ...usualLimits, ...parts.limits };
  const load = new Load({ requests: maxConcurrentRequests, bodyBytes: bodiesAtOnce * maxBodyBytes });
  const app = fastify({
    bodyLimit: maxBodyBytes,
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: limits.bodyTimeoutMs,
    genReqId: newRequestId,
    http: { headersTimeout: limits.headersTimeoutMs, connectionsCheckingInterval: limits.checkEveryMs },
    clientErrorHandler: refuseConnection,
    frameworkErrors: (error, request, reply) => {
      reply.header('x-request-id', request.id);
      sendError(reply, error);
    },
  });
  const connections = new Connections(app.server);
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  answerErrors(app);
  await app.register(
    gateway({
      ...parts,
      load,
      unreadMs: limits.unreadMs,
      principalOf: (_request: FastifyRequest) => localPrincipal,
      observe: () => undefined,
    }),
    { prefix: '/v1' },
  );
  return {
    listen: (address) => app.listen(address),
    async close() {
      load.stop();
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

  function sendError(reply: FastifyReply, error: unknown) {
    const { status, headers, body } = toOpenAiError(toAppError(error, log), config.redactor);
    return reply.code(status).headers(headers).type('application/json; charset=utf-8').send(body);
  }

  function answerErrors(server: FastifyInstance): void {
    server.setErrorHandler((error, _request, reply) => sendError(reply, error));
    server.setNotFoundHandler(({ method, url }) => {
      throw new AppError('not_found', `There is nothing at ${method} ${url.slice(0, 200)}.`, {
        next: 'The OpenAI-compatible API is below /v1.',
      });
    });
  }
}
