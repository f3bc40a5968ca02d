import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A call as it arrived at the upstream, to the byte. */
export interface SeenRequest {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  /** `performance.now()` when it had arrived. */
  atMs: number;
  /** When the caller hung up before the answer was whole; null: it did not. */
  abortedAtMs: number | null;
}

export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  seen: SeenRequest;
  /** 1 for the first call. */
  ordinal: number;
}

export interface Upstream {
  /** What `baseUrl` takes. */
  url: string;
  requests: SeenRequest[];
  /** How many connections there ever were. */
  connections: number;
  /** What it does from now on. */
  handle: (exchange: Exchange) => void | Promise<void>;
}

/** A provider that does to its callers what the test says, byte by byte. Ends with the test. */
export async function startUpstream(handle: Upstream['handle']): Promise<Upstream> {
  const upstream: Upstream = { url: '', requests: [], connections: 0, handle };
  const sockets = new Set<Socket>();
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const seen: SeenRequest = {
      path: request.url ?? '',
      headers: request.headers,
      body: Buffer.concat(parts).toString('utf8'),
      atMs: performance.now(),
      abortedAtMs: null,
    };
    upstream.requests.push(seen);
    response.on('close', () => {
      if (!response.writableFinished) seen.abortedAtMs = performance.now();
    });
    response.on('error', () => undefined);
    await upstream.handle({ request, response, seen, ordinal: upstream.requests.length });
  });
  server.on('connection', (socket) => {
    upstream.connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  upstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return upstream;
}

/** The JSON of one chunk. */
export function chunk(delta: Record<string, unknown>, finishReason: string | null = null, index = 0): string {
  return JSON.stringify({
    id: 'chatcmpl-test',
    object: 'chat.completion.chunk',
    created: 7,
    model: 'm',
    choices: [{ index, delta, finish_reason: finishReason }],
  });
}

export const role = chunk({ role: 'assistant', content: '' });
export const finish = chunk({}, 'stop');
export const usageChunk = JSON.stringify({
  id: 'chatcmpl-test',
  object: 'chat.completion.chunk',
  created: 7,
  model: 'm',
  choices: [],
  usage: { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 },
});

/** Each text as one event. */
export function events(...data: string[]): string {
  return data.map((text) => `data: ${text}\n\n`).join('');
}

/** A whole, good stream that says these pieces. */
export function wholeStream(...pieces: string[]): string {
  return events(role, ...pieces.map((content) => chunk({ content })), finish, usageChunk, '[DONE]');
}

export function beginStream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
}

/** Answers with this stream and ends it. */
export function sendStream(response: ServerResponse, text: string | Buffer): void {
  beginStream(response);
  response.end(text);
}

/** Begins a stream with these pieces, and hangs up. */
export function cutAfter(response: ServerResponse, ...pieces: string[]): void {
  beginStream(response);
  response.write(events(role, ...pieces.map((content) => chunk({ content }))));
  // What was written has to leave before the reset does.
  setTimeout(() => response.destroy(), 30);
}

export function sendJson(response: ServerResponse, status: number, body: unknown, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

export function openAiError(message: string, code: string | null = null): unknown {
  return { error: { message, type: 'invalid_request_error', param: null, code } };
}

export const wholeAnswer = {
  id: 'chatcmpl-test',
  object: 'chat.completion',
  created: 7,
  model: 'm',
  choices: [{ index: 0, message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 },
};
