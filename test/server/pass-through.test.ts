import { describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { sendJson, sendStream, startUpstream, type Upstream, wholeAnswer, wholeStream } from '../support/upstream.ts';

async function gatewayBefore(upstream: Upstream): Promise<Gateway> {
  return startGateway({ backends: [{ id: 'one', models: ['m', 'org/m:free'], baseUrl: upstream.url }] });
}

/** What arrives upstream of a body that was sent as this text. */
async function arrived(body: string, path = '/v1/chat/completions'): Promise<string | undefined> {
  const upstream = await startUpstream(({ response, seen }) =>
    JSON.parse(seen.body).stream === true
      ? sendStream(response, wholeStream('Hello'))
      : sendJson(response, 200, wholeAnswer),
  );
  const gateway = await gatewayBefore(upstream);
  const answer = await gateway.post(path, body);
  expect(`${answer.status} ${await answer.text()}`).toMatch(/^200/);
  return upstream.requests[0]?.body;
}

/** Fields as clients send them, and some that nobody knows, spelt oddly on purpose. */
const rich = `{
  "messages" : [ {"role":"system","content":"Be br\\u0069ef \\ud83d\\ude00"},
    {"role":"user","content":[{"type":"text","text":"What is this? \u00fc \u{1F600}"},
      {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"}}]},
    {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"a\\": 1}"}}]},
    {"role":"tool","tool_call_id":"c1","content":"{}"} ],
  "tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"x":{"type":"number","maximum":1e400}}}}}],
  "tool_choice":{"type":"function","function":{"name":"f"}}, "parallel_tool_calls":false,
  "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}},
  "seed":9007199254740993, "temperature":0.10, "top_p":1.0, "logprobs":true, "top_logprobs":3,
  "logit_bias":{"50256":-100}, "n":1, "stop":["\\n\\n","END"], "user":"u-1", "metadata":{"model":"inner","stream":true},
  "x_unknown":{"deep":[1,2.50,{"model":"also inner"}]}, "guided_json":{"a":-0.0}, "max_tokens":50, "MODEL":"other case",
  "model":"one/m"
}`;

describe('what is passed on to a provider', () => {
  it('is what was sent, to the byte, apart from the name of the model', async () => {
    expect(await arrived(rich)).toBe(rich.replace('"model":"one/m"', '"model":"m"'));
  });

  it('differs for a stream only by the usage that is asked for', async () => {
    const body = rich.replace('"model":"one/m"', '"model":"one/m", "stream":true');
    const expected = body
      .replace('"model":"one/m"', '"model":"m"')
      .replace('{', '{"stream_options":{"include_usage":true},');
    expect(await arrived(body)).toBe(expected);
  });

  it('keeps the other stream options, and null counts as none', async () => {
    const body = '{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"stream_options":OPTIONS}';
    expect(await arrived(body.replace('OPTIONS', '{"include_usage":false,"continuous_usage_stats":true}'))).toBe(
      body.replace('OPTIONS', '{"include_usage":true,"continuous_usage_stats":true}'),
    );
    expect(await arrived(body.replace('OPTIONS', 'null'))).toBe(body.replace('OPTIONS', '{"include_usage":true}'));
  });

  it('has every digit of a 64-bit seed', async () => {
    const body = '{"seed":9007199254740993,"model":"m","messages":[{"role":"user","content":"Hi"}]}';
    expect(await arrived(body)).toContain('"seed":9007199254740993,');
  });

  it('names the model in every place where it was named twice, so that no parser sees another', async () => {
    const body = '{"model":"elsewhere/dear","messages":[{"role":"user","content":"Hi"}],"mo\\u0064el":"one/m"}';
    expect(await arrived(body)).toBe('{"model":"m","messages":[{"role":"user","content":"Hi"}],"mo\\u0064el":"m"}');
  });

  it('has model ids with slashes and colons', async () => {
    const body = '{"model":"one/org/m:free","messages":[{"role":"user","content":"Hi"}]}';
    expect(await arrived(body)).toBe('{"model":"org/m:free","messages":[{"role":"user","content":"Hi"}]}');
  });

  it('is untouched for plain completions and embeddings too', async () => {
    const completion = '{"model":"m", "prompt":[[1,2,3],[4]], "echo":true, "best_of":2, "suffix":"\\u00e9"}';
    expect(await arrived(completion, '/v1/completions')).toBe(completion);
    const upstream = await startUpstream(({ response }) =>
      sendJson(response, 200, '{"object":"list", "data":[{"embedding":[0.10,1e-7]}],"usage":{"prompt_tokens":3}}'),
    );
    const gateway = await gatewayBefore(upstream);
    const embedding = '{"input":["a", "b"], "model":"one/m", "dimensions":12, "input_type":"query"}';
    const answer = await gateway.post('/v1/embeddings', embedding);
    expect(await answer.text()).toBe(
      '{"object":"list", "data":[{"embedding":[0.10,1e-7]}],"usage":{"prompt_tokens":3}}',
    );
    expect(upstream.requests[0]).toMatchObject({ path: '/v1/embeddings', body: embedding.replace('one/m', 'm') });
  });

  it('carries the key of the provider, and nothing from the headers of the caller', async () => {
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, wholeAnswer));
    const gateway = await gatewayBefore(upstream);
    const headers = {
      authorization: 'Bearer caller-secret',
      'openai-organization': 'org',
      cookie: 'a=b',
      'x-own': '1',
    };
    await gateway.post('/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content: 'Hi' }] }, headers);
    expect(upstream.requests[0]?.headers).toMatchObject({ authorization: 'Bearer sandbox-serverless-key' });
    expect(Object.keys(upstream.requests[0]?.headers ?? {}).toSorted()).toEqual(
      ['accept', 'authorization', 'connection', 'content-length', 'content-type', 'host', 'user-agent'].toSorted(),
    );
  });
});

describe('what is passed back', () => {
  it('is the whole answer, to the byte', async () => {
    const text = `{ "id":"x",\n "choices":[{"message":{"content":"\\u00fc","refusal":null},"finish_reason":"stop","logprobs":{"content":[{"logprob":-0.10}]}}],"usage":{"prompt_tokens":3,"completion_tokens":1},"big":12345678901234567890 }`;
    const upstream = await startUpstream(({ response }) => sendJson(response, 200, text));
    const gateway = await gatewayBefore(upstream);
    const answer = await gateway.chat({ model: 'm' });
    expect(await answer.text()).toBe(text);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
  });

  it('has all of n=2 answers', async () => {
    const choice = (index: number) => ({
      index,
      message: { role: 'assistant', content: `A${index}` },
      finish_reason: 'stop',
    });
    const upstream = await startUpstream(({ response }) =>
      sendJson(response, 200, { ...wholeAnswer, choices: [choice(0), choice(1)] }),
    );
    const { openai } = await gatewayBefore(upstream);
    const messages = [{ role: 'user' as const, content: 'Hi' }];
    const { choices } = await openai.chat.completions.create({ model: 'm', messages, n: 2 });
    expect(choices.map(({ message }) => message.content)).toEqual(['A0', 'A1']);
    expect(JSON.parse(upstream.requests[0]?.body ?? '').n).toBe(2);
  });
});
