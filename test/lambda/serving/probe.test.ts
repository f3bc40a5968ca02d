import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../../src/errors.ts';
import type { ServerBase } from '../../../src/lambda/serving/ask.ts';
import { readLoad } from '../../../src/lambda/serving/load.ts';
import { probe } from '../../../src/lambda/serving/probe.ts';

type Answers = Record<string, (outgoing: ServerResponse, incoming: IncomingMessage, body: string) => void>;

const json = (status: number, value: unknown) => (outgoing: ServerResponse) => {
  outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
};
const text = (status: number, value: string) => (outgoing: ServerResponse) => outgoing.writeHead(status).end(value);

const cut = (beginning: string) => (outgoing: ServerResponse) => {
  outgoing.writeHead(200, { 'content-length': 1000 }).write(beginning, () => outgoing.destroy());
};

const wellServer: Answers = {
  '/health': text(200, ''),
  '/v1/models': json(200, { object: 'list', data: [{ id: 'analysts' }] }),
  '/v1/chat/completions': json(200, {
    choices: [{ index: 0, message: { role: 'assistant', content: null, reasoning: 'H' }, finish_reason: 'length' }],
    usage: { prompt_tokens: 8, completion_tokens: 1 },
  }),
};

/** What a server with these answers is asked is in `asked`. */
async function serverWith(answers: Answers): Promise<{ base: ServerBase & { alias: string }; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((incoming, outgoing) => {
    let body = '';
    incoming.on('data', (piece) => {
      body += piece;
    });
    incoming.on('end', () => {
      asked.push(`${incoming.method} ${incoming.url} ${body}`.trim());
      (answers[incoming.url ?? ''] ?? text(404, 'Not Found'))(outgoing, incoming, body);
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.on('listening', resolve));
  const dispatcher = new Agent();
  onTestFinished(async () => {
    await dispatcher.destroy();
    server.closeAllConnections();
    server.close();
  });
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { base: { baseUrl, alias: 'analysts', apiKey: null, dispatcher }, asked };
}

const { signal } = new AbortController();
const probed = async (answers: Answers) => probe((await serverWith({ ...wellServer, ...answers })).base, signal);

describe('whether a model server is ready', () => {
  it('is known when it has made one token', async () => {
    const { base, asked } = await serverWith(wellServer);
    expect(await probe(base, signal)).toEqual({ stage: 'ready', problem: null });
    expect(asked).toEqual([
      'GET /health',
      'GET /v1/models',
      'POST /v1/chat/completions {"model":"analysts","messages":[{"role":"user","content":"Hi"}],"max_tokens":1,"temperature":0}',
    ]);
  });

  it('ends at a machine on which nothing listens', async () => {
    const dispatcher = new Agent();
    const base = { baseUrl: 'http://127.0.0.1:1', alias: 'analysts', apiKey: null, dispatcher };
    expect(await probe(base, signal)).toEqual({
      stage: 'unreachable',
      problem: 'The model server could not be reached: connection refused',
    });
    await dispatcher.close();
  });

  it('ends at a connection that is cut', async () => {
    const readiness = await probed({ '/health': (outgoing) => void outgoing.destroy() });
    expect(readiness).toMatchObject({ stage: 'unreachable' });
  });

  it('ends at a server that is not well', async () => {
    expect(await probed({ '/health': text(503, 'starting') })).toEqual({
      stage: 'server',
      problem: '/health was answered with 503: starting',
    });
  });

  it('ends at a server with another model', async () => {
    const models = { data: [{ id: 'openai/gpt-oss-120b' }] };
    expect(await probed({ '/v1/models': json(200, models) })).toEqual({
      stage: 'model',
      problem: 'it serves openai/gpt-oss-120b, not analysts',
    });
  });

  it.each([
    ['a page', text(200, '<html></html>')],
    ['a number', json(200, 1)],
    ['a list of something else', json(200, { data: [{ name: 'analysts' }] })],
    ['half a list', cut('{"data":[')],
  ])('ends at a server that lists %s', async (_what, answer) => {
    expect((await probed({ '/v1/models': answer })).stage).toBe('model');
  });

  it('ends at a server that wants another key', async () => {
    expect(await probed({ '/v1/models': json(401, { error: 'Unauthorized' }) })).toEqual({
      stage: 'model',
      problem: '/v1/models was answered with 401: Unauthorized',
    });
  });

  it.each([
    ['fails', json(500, { error: { message: 'CUDA error: 802' } }), 'answered with 500: CUDA error: 802'],
    ['answers with no choice', json(200, { choices: [] }), 'was answered with something else'],
    ['answers with no token', json(200, { choices: [{}], usage: { completion_tokens: 0 } }), 'without a token'],
  ])('ends at a machine whose completion %s', async (_what, answer, problem) => {
    const readiness = await probed({ '/v1/chat/completions': answer });
    expect(readiness.stage).toBe('token');
    expect(readiness.problem).toContain(problem);
  });

  it('is asked with the key of a direct endpoint', async () => {
    const keys: (string | undefined)[] = [];
    const remember: Answers[string] = (outgoing, incoming) => {
      keys.push(incoming.headers.authorization);
      outgoing.end('{}');
    };
    const { base } = await serverWith({ ...wellServer, '/v1/models': remember });
    await probe({ ...base, apiKey: 'sk-1' }, signal);
    await probe(base, signal);
    expect(keys).toEqual(['Bearer sk-1', undefined]);
  });

  it('is no longer asked when the caller gives up', async () => {
    const caller = new AbortController();
    const { base } = await serverWith({
      ...wellServer,
      '/v1/models': () => caller.abort(new AppError('cancelled', 'Enough.')),
    });
    await expect(probe(base, caller.signal)).rejects.toMatchObject({ code: 'cancelled', message: 'Enough.' });
  });

  it('is not waited for when it hangs', async () => {
    expect(await probed({ '/health': () => undefined })).toEqual({
      stage: 'unreachable',
      problem: '/health did not answer within 3 s',
    });
  });
});

const vllm = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="analysts"} 2.0
vllm:num_requests_running{engine="1",model_name="analysts"} 1.0
vllm:num_requests_waiting{engine="0",model_name="analysts"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="analysts",reason="capacity"} 4.0
vllm:prompt_tokens_total{engine="0",model_name="a } b"} 1.2e+06
vllm:prompt_tokens_created{engine="0",model_name="analysts"} 1.76e+09
vllm:generation_tokens_total{engine="0",model_name="analysts"} 345.0
`;

describe('the load of a model server', () => {
  const loadOf = async (metrics: string) => {
    const { base } = await serverWith({ '/metrics': text(200, metrics) });
    return readLoad(base, signal);
  };

  it('is read from vLLM, over all of its engines', async () => {
    expect(await loadOf(vllm)).toEqual({ running: 3, waiting: 4, tokensServed: 1_200_345 });
  });

  it.each([':', '_'])('is read from SGLang, whose names have a "%s"', async (mark) => {
    const metrics = [
      `sglang${mark}num_running_reqs{model_name="analysts",tp_rank="0"} 1.0`,
      `sglang${mark}num_queue_reqs{model_name="analysts",tp_rank="0"} 0.0`,
      `sglang${mark}prompt_tokens_total{model_name="analysts"} 10.0`,
      `sglang${mark}generation_tokens_total{model_name="analysts"} 5.0`,
    ];
    expect(await loadOf(metrics.join('\n'))).toEqual({ running: 1, waiting: 0, tokensServed: 15 });
  });

  it('begins at no tokens', async () => {
    expect(await loadOf('vllm:num_requests_running 0\r\nvllm:num_requests_waiting 0\r\n')).toEqual({
      running: 0,
      waiting: 0,
      tokensServed: 0,
    });
  });

  it.each([
    ['nothing', ''],
    ['metrics of something else', 'process_cpu_seconds_total 12\n'],
    ['half of it', 'vllm:num_requests_running 0\n'],
    ['no numbers', 'vllm:num_requests_running NaN\nvllm:num_requests_waiting 0\n'],
    ['no number of tokens', `${vllm}vllm:generation_tokens_total{engine="1"} NaN\n`],
  ])('is unknown, and not idleness, where there is %s', async (_what, metrics) => {
    expect(await loadOf(metrics)).toBeNull();
  });

  it('is unknown when the server does not say it', async () => {
    const { base } = await serverWith({ '/metrics': text(500, vllm) });
    expect(await readLoad(base, signal)).toBeNull();
    expect(await readLoad({ ...base, baseUrl: 'http://127.0.0.1:1' }, signal)).toBeNull();
  });

  it('is unknown when the answer has no end', async () => {
    const endless: Answers[string] = (outgoing) => {
      const more = () => {
        while (!outgoing.destroyed && outgoing.write('x'.repeat(65_536)));
      };
      outgoing.on('drain', more);
      more();
    };
    const { base } = await serverWith({ '/metrics': endless });
    expect(await readLoad(base, signal)).toBeNull();
  });
});
