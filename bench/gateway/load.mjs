// Keep-alive load over undici's lowest interface: a real HTTP parser, and little else to pay for.
// A fixed number of connections, each of which sends its next request when the answer before it is complete.
import { Client } from 'undici';

/**
 * One POST. Resolves with `{ bytes, events, firstMs, ms }`: what arrived, its server-sent events, time to the first
 * byte of the body and to the end. Rejects on anything but a 200 whose end holds `mark`.
 */
export function post(client, { path, headers, body, mark }) {
  return new Promise((resolve, reject) => {
    let status = 0;
    let bytes = 0;
    let events = 0;
    let firstMs = 0;
    let tail = '';
    let endsInNewline = false;
    const startedAt = performance.now();
    client.dispatch(
      { path, method: 'POST', headers, body },
      {
        onRequestStart() {},
        onResponseStart(_controller, statusCode) {
          status = statusCode;
        },
        onResponseData(_controller, part) {
          if (bytes === 0) firstMs = performance.now() - startedAt;
          bytes += part.length;
          // An event ends with an empty line, which may be cut in two by the packets.
          if (endsInNewline && part[0] === 10) events += 1;
          for (let at = part.indexOf('\n\n'); at !== -1; at = part.indexOf('\n\n', at + 2)) events += 1;
          endsInNewline = part.at(-1) === 10 && part.at(-2) !== 10;
          tail = part.length >= 1024 ? part.latin1Slice(part.length - 1024) : (tail + part.latin1Slice()).slice(-1024);
        },
        onResponseEnd() {
          if (status !== 200 || !tail.includes(mark)) {
            reject(new Error(`wrong answer: HTTP ${status}, ${bytes} bytes, ends in ${tail.slice(-300)}`));
          } else resolve({ bytes, events, firstMs, ms: performance.now() - startedAt });
        },
        onResponseError(_controller, error) {
          reject(error);
        },
      },
    );
  });
}

/**
 * Keeps `connections` busy until `ms` have passed or `amount` answers are in; each begins `staggerMs` after the one
 * before it. Resolves with `{ answers, seconds }`: answers that were under way at the end count, as does their time.
 */
export async function load(target, { connections, ms = Infinity, amount = Infinity, staggerMs = 0 }) {
  const clients = Array.from({ length: connections }, () => new Client(target.url, { bodyTimeout: 20_000 }));
  const answers = [];
  let asked = 0;
  const startedAt = performance.now();
  const endAt = startedAt + ms;
  await Promise.all(
    clients.map(async (client, index) => {
      if (staggerMs > 0) await new Promise((resolve) => setTimeout(resolve, index * staggerMs));
      while (asked < amount && performance.now() < endAt) {
        asked += 1;
        answers.push(await post(client, target));
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  await Promise.all(clients.map((client) => client.close()));
  return { answers, seconds };
}

const prompt = 'Tandem routes a prompt to the cheapest backend that is good enough. '.repeat(14);

/** What is asked of a subject: about 1 kB, as a short chat would. `kind` is answer, stream or paced. */
export function targetOf({ url, headers, models }, kind, chunks = 200) {
  const streamed = kind !== 'answer';
  const body = JSON.stringify({
    model: models[kind],
    messages: [
      { role: 'system', content: 'You answer in one paragraph.' },
      { role: 'user', content: prompt },
    ],
    max_tokens: chunks,
    ...(streamed && { stream: true, stream_options: { include_usage: true } }),
  });
  return {
    url,
    path: '/v1/chat/completions',
    headers: { 'content-type': 'application/json', ...headers },
    body,
    // An answer counts only when it is whole: the last sentence, and the end of the stream.
    mark: streamed ? 'data: [DONE]' : 'settled after it. "',
  };
}
