import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Config } from '../config/index.ts';
import { AppError, type ErrorCode } from '../errors.ts';
import type { Log } from '../log.ts';
import { mayHavePrompts } from '../router/constraints.ts';
import type { Answer, Router } from '../router/router.ts';
import type { Backend, Operation } from '../router/types.ts';
import { costHeader, costText, flatHeaders, routeHeaders } from './answer-headers.ts';
import { ClientStream } from './client-stream.ts';
import { toAppError } from './failure.ts';
import { needScope, principalOf } from './identify.ts';
import type { Load, Ticket } from './load.ts';
import { findModel, listModels, refreshAll } from './model-list.ts';
import { readGatewayRequest } from './model-request.ts';
import { toOpenAiError } from './openai-errors.ts';

export interface GatewayParts {
  config: Pick<Config, 'routing' | 'server' | 'redactor'>;
  router: Router;
  backends(): readonly Backend[];
  /** Nothing that costs is done. */
  readOnly: boolean;
  load: Load;
  /** A caller that has taken nothing of its stream for so long is gone. */
  unreadMs: number;
  log: Log;
  /** Told of every request that is over, with the code of its error or `ok`. */
  observe(operation: Operation, outcome: ErrorCode | 'ok', durationMs: number): void;
}

const bufferedBytes = 65_536;
/** Node.js writes texts of this size, the head included, without asking for memory. */
const oneWriteBytes = 15_000;

const routes: { path: string; operation: Operation }[] = [
  { path: '/chat/completions', operation: 'chat' },
  { path: '/completions', operation: 'completions' },
  { path: '/embeddings', operation: 'embeddings' },
];

/** OpenAI's API over all backends. Source: OpenAI API reference, chat completions, completions, embeddings, models. */
export function gateway(parts: GatewayParts): FastifyPluginAsync {
  const offered = () => parts.backends().filter((backend) => mayHavePrompts(backend, parts.config.routing.privacy));
  return async (app) => {
    app.addHook('onRequest', needScope('infer'));
    // As text: what is not understood here goes on as it came.
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body));
    for (const { path, operation } of routes) {
      app.post(path, async (request, reply) => answer(parts, operation, request, reply));
    }
    app.get('/models', async () => {
      await refreshAll(offered());
      return { object: 'list', data: listModels(offered()) };
    });
    app.get<{ Params: { '*': string } }>('/models/*', async ({ params }) => {
      await refreshAll(offered());
      const model = findModel(offered(), params['*']);
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
  let ticket: Ticket | undefined;
  const onClose = () => {
    if (!reply.raw.writableFinished) ticket?.cancel(new AppError('cancelled', 'The caller hung up.'));
  };
  reply.raw.once('close', onClose);
  let stream: ClientStream | undefined;
  let outcome: ErrorCode | 'ok' = 'ok';
  try {
    if (parts.readOnly) throw readOnly();
    ticket = parts.load.enter(text.length);
    const { request, wantsUsage } = readGatewayRequest({
      id: http.id,
      operation,
      text,
      principal: principalOf(http),
      defaultPriority: parts.config.routing.priority,
      defaultQuality: parts.config.routing.quality,
      timeLimitMs: parts.config.server.requestTimeoutMs,
    });
    if (request.stream) stream = new ClientStream(reply, wantsUsage, parts.unreadMs, parts.config.redactor);
    const result = await parts.router.run(request, ticket.signal, stream?.receive);
    if (!stream) return sendWhole(parts, reply, result);
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
    ticket?.leave();
    parts.observe(operation, outcome, performance.now() - startedAt);
  }
}

function readOnly(): AppError {
  return new AppError('read_only', 'This server is read-only: it runs no prompts.', {
    next: 'Start it without --read-only and TANDEM_READ_ONLY.',
  });
}

/** Past Fastify: its way of answering costs a tenth of a whole request, and there is nothing left for it to do. */
function sendWhole({ config, unreadMs }: GatewayParts, reply: FastifyReply, answer: Answer): FastifyReply {
  const { raw } = reply;
  const body = config.redactor.hideInBytes(answer.body ?? Buffer.alloc(0));
  // What does not fit into the buffers of the connection has to be read.
  if (body.length > bufferedBytes) raw.setTimeout(unreadMs);
  const headers = flatHeaders(reply.getHeaders(), routeHeaders(answer.answeredBy, answer.decision), {
    [costHeader]: costText(answer),
    'x-tandem-attempts': answer.attempts.length,
    'content-type': 'application/json; charset=utf-8',
    'content-length': body.length,
  });
  reply.hijack();
  raw.writeHead(200, headers);
  // A text leaves in one piece with the head, bytes in a second one. Latin 1 has a letter for every byte.
  if (body.length > oneWriteBytes) raw.end(body);
  else raw.end(body.toString('latin1'), 'latin1');
  return reply;
}
