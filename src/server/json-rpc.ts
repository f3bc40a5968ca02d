import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Full } from './mcp-sessions.ts';

/** Refuses in the form that MCP clients read. */
export function refuse(reply: FastifyReply, status: number, code: number, message: string): FastifyReply {
  return reply.code(status).send({ jsonrpc: '2.0', error: { code, message }, id: null });
}

export function refuseUnknownSession(reply: FastifyReply): FastifyReply {
  return refuse(reply, 404, -32001, 'Session not found. It was closed or has expired: send initialize again.');
}

export function refuseFull(reply: FastifyReply, { reason, retryAfterSeconds }: Full): FastifyReply {
  reply.header('retry-after', String(retryAfterSeconds));
  const next = `Close one (DELETE with its Mcp-Session-Id), or try again in ${retryAfterSeconds} s.`;
  return refuse(reply, 503, -32000, `${reason} ${next}`);
}

/** Bodies are JSON, whatever the rest of the server reads. An empty one is no body, as some clients send with DELETE. */
export function readJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null, undefined);
    else parse(request, text as string, done);
  });
}

/** What fastify refuses about a body, said in JSON-RPC. All other errors are left to the server's own handler. */
export function answerBadBodies(app: FastifyInstance): void {
  app.setErrorHandler<Error & { code?: string; statusCode?: number }>(async (error, _request, reply) => {
    const status = error.statusCode ?? 500;
    if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return refuse(reply, 413, -32000, 'The message is too large.');
    if (status === 415)
      return refuse(reply, 415, -32000, 'Unsupported Media Type: Content-Type must be application/json.');
    if (status === 400) return refuse(reply, 400, -32700, 'Parse error: the body is not valid JSON.');
    throw error;
  });
}
