import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config/index.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Principal } from '../principal.ts';
import type { Answer, Router } from '../router/router.ts';
import type { Backend, Operation } from '../router/types.ts';
import { costHeader, costText, routeHeaders } from './answer-headers.ts';
import { ClientStream } from './client-stream.ts';
import { toAppError } from './failure.ts';
import type { Load } from './load.ts';
import { listModels } from './model-list.ts';
import { readGatewayRequest } from './model-request.ts';
import { toOpenAiError } from './openai-errors.ts';

export interface GatewayParts {
  config: Pick<Config, 'routing' | 'server' | 'redactor'>;
  router: Router;
  backends(): readonly Backend[];
  load: Load;
  /** A caller that has taken nothing of its stream for so long is gone. */
  unreadMs: number;
  log: Log;
  /** Who asks, as the hooks before have found out. */
  principalOf(request: FastifyRequest): Principal;
  /** Told of every request that is over, with the code of its error or `ok`. */
  observe(operation: Operation, outcome: ErrorCode | 'ok', durationMs: number): void;
}

const routes: { path: string; operation: Operation }[] = [
  { path: '/chat/completions', operation: 'chat' },
  { path: '/completions', operation: 'completions' },
  { path: '/embeddings', operation: 'embeddings' },
];

/** OpenAI's API over all backends. Source: OpenAI API reference, chat completions, completions, embeddings, models. */
export function gateway(parts: GatewayParts): FastifyPluginAsync {
  return async (app) => {
    // As text: what is not understood here goes on as it came.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body));
    for (const { path, operation } of routes) {
      app.post(path, async (request, reply) => answer(parts, operation, request, reply));
    }
    app.get('/models', async () => ({ object: 'list', data: listModels(parts.backends()) }));
    app.get<{ Params: { '*': string } }>('/models/*', async ({ params }) => {
      const model = listModels(parts.backends()).find(({ id }) => id === params['*']);
      if (model) return model;
      throw new AppError('unknown_model', `There is no model "${params['*']}".`, {
        next: 'GET /v1/models lists them.',
      });
    });
  };
}

async function answer(parts: GatewayParts, operation: Operation, http: FastifyRequest, reply: FastifyReply) {
  const startedAt = performance.now();
  const text = typeof http.body === 'string' ? http.body : '';
  const ticket = parts.load.enter(text.length);
  const onClose = () => {
    if (!reply.raw.writableFinished) ticket.cancel(new AppError('cancelled', 'The caller hung up.'));
  };
  reply.raw.once('close', onClose);
  let stream: ClientStream | undefined;
  let outcome: ErrorCode | 'ok' = 'ok';
  try {
    const { request, wantsUsage } = readGatewayRequest({
      id: http.id,
      operation,
      text,
      principal: parts.principalOf(http),
      defaultPriority: parts.config.routing.priority,
      timeLimitMs: parts.config.server.requestTimeoutMs,
    });
    if (request.stream) stream = new ClientStream(reply, wantsUsage, parts.unreadMs);
    const result = await parts.router.run(request, ticket.signal, stream?.receive);
    if (!stream) return sendWhole(reply, result, parts.unreadMs);
    stream.end(result);
    return reply;
  } catch (error) {
    const failure = toAppError(error, parts.log);
    outcome = failure.code;
    if (!stream?.hasBegun) throw failure;
    stream.fail(toOpenAiError(failure, parts.config.redactor));
    return reply;
  } finally {
    reply.raw.off('close', onClose);
    ticket.leave();
    parts.observe(operation, outcome, performance.now() - startedAt);
  }
}

function sendWhole(reply: FastifyReply, answer: Answer, unreadMs: number) {
  reply.raw.setTimeout(unreadMs);
  const last = answer.attempts.at(-1);
  return reply
    .headers({
      ...(last && routeHeaders(last, answer.decision)),
      [costHeader]: costText(answer),
      'x-tandem-attempts': String(answer.attempts.length),
    })
    .type('application/json; charset=utf-8')
    .send(answer.body);
}
