import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

/** Often enough to find a client that is gone without a word. */
const probeAfterMs = 30_000;

/** Takes the response out of fastify's hands, with the headers that hooks have set, and lets its socket be silent. */
export function hijack(reply: FastifyReply): ServerResponse {
  const { raw } = reply;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  reply.hijack();
  raw.socket?.setTimeout(0);
  raw.socket?.setKeepAlive(true, probeAfterMs);
  return raw;
}

/** Comments on a stream, so that nothing between here and the client takes it for dead. */
export function startKeepAlive(raw: ServerResponse, everyMs: number): void {
  const timer = setInterval(() => raw.write(': keepalive\n\n'), everyMs);
  timer.unref();
  raw.once('close', () => clearInterval(timer));
}

/** A stream of events that were sent before, and its end. */
export function sendEvents(
  raw: ServerResponse,
  sessionId: string,
  events: readonly { id: string; message: object }[],
): void {
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'mcp-session-id': sessionId,
  });
  for (const { id, message } of events) raw.write(`event: message\nid: ${id}\ndata: ${JSON.stringify(message)}\n\n`);
  raw.end();
}
