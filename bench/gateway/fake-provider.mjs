// An OpenAI-compatible model server that answers at once, as cheaply as it can: it must not be what is measured.
// `max_tokens` is the number of chunks of a stream; the model "paced" sends one every 20 ms, as a model would.
import { createServer } from 'node:http';
import { announce } from './children.mjs';

const paceMs = 20;
const id = 'chatcmpl-9f2c61b7d04e4a8f';
const head = `"id":"${id}","created":1767225600,"model":"model-a","system_fingerprint":"fp_8a6f1c20d3"`;
const usage = '"usage":{"prompt_tokens":212,"completion_tokens":120,"total_tokens":332}';
const text = 'The ledger holds one row per attempt, written before the call and settled after it. '.repeat(6);
const completion = Buffer.from(
  `{${head},"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"${text}"},"logprobs":null,"finish_reason":"stop"}],${usage}}`,
);
const models = '{"object":"list","data":[{"id":"model-a","object":"model"},{"id":"paced","object":"model"}]}';

const chunkHead = `data: {${head},"object":"chat.completion.chunk"`;
// Framed for chunked transfer ahead of time and written to the socket: half the cost of response.write().
const framed = (data) => Buffer.from(`${data.length.toString(16)}\r\n${data}\r\n`);
const chunkOf = (delta, finish) =>
  framed(`${chunkHead},"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finish}}]}\n\n`);
const first = chunkOf('{"role":"assistant","content":"The"}', 'null');
const next = chunkOf('{"content":" ledger"}', 'null');
const last = chunkOf('{}', '"stop"');
const usageChunk = framed(`${chunkHead},"choices":[],${usage}}\n\n`);
const done = framed('data: [DONE]\n\n');

const server = createServer((request, response) => {
  if (request.method !== 'POST') return answer(response, request.url === '/v1/models' ? 200 : 404, models);
  if (request.url !== '/v1/chat/completions') return answer(response, 404, '{}');
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = JSON.parse(parts.length === 1 ? parts[0] : Buffer.concat(parts));
    if (body.stream) stream(response, body);
    else answer(response, 200, completion);
  });
});
// Providers keep connections open for minutes; five seconds, the default, would make races of reuse part of the run.
server.keepAliveTimeout = 120_000;
server.listen(0, '127.0.0.1', announce);

function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

function stream(response, { model, max_tokens: chunks = 16, stream_options: options }) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.flushHeaders();
  const { socket } = response;
  let sent = 0;
  const later = model === 'paced' ? (then) => setTimeout(then, paceMs) : setImmediate;
  const step = () => {
    if (response.destroyed) return;
    if (sent < chunks) {
      sent += 1;
      // One write per chunk: each is a packet of its own, and waits when the reader is slow.
      if (socket.write(sent === 1 ? first : next)) later(step);
      else socket.once('drain', step);
      return;
    }
    socket.write(last);
    if (options?.include_usage) socket.write(usageChunk);
    socket.write(done);
    response.end();
  };
  step();
}
