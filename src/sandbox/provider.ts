import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyPluginAsync, FastifyReply } from 'fastify';
import { estimateTokenCount } from 'tokenx';
import { z } from 'zod';
import { sandboxAnswer } from './answers.ts';
import { type Behaviour, type BehaviourName, behaviourNamed, behaviours } from './behaviours.ts';

/** How much one token costs the caller where a behaviour reports a cost itself, in dollars. */
const reportedUsdPerToken = 0.000001;

export interface ProviderOptions {
  apiKey: string | null;
  models: readonly { id: string; contextWindowTokens: number }[];
  firstTokenMs: number;
  millisecondsPerPiece: number;
}

/** A call as the server saw it: what tests check against what the caller claims. */
export interface SeenCall {
  model: string;
  body: Record<string, unknown>;
  userAgent: string;
  outcome: 'open' | 'answered' | 'refused' | 'broken' | 'caller_left';
}

export interface Provider {
  plugin: FastifyPluginAsync;
  calls: SeenCall[];
  /** Put over every model, until taken away with null. */
  override: BehaviourName | null;
}

const callSchema = z.looseObject({
  model: z.string(),
  messages: z.array(z.looseObject({ role: z.string(), content: z.unknown() })).min(1),
  stream: z.boolean().optional(),
  stream_options: z.looseObject({ include_usage: z.boolean().optional() }).nullish(),
  max_tokens: z.int().min(1).optional(),
});

/** An OpenAI-compatible model server over real HTTP. Deterministic; no model runs. */
export function createProvider(options: ProviderOptions): Provider {
  const provider: Provider = { calls: [], override: null, plugin };
  return provider;

  async function plugin(app: Parameters<FastifyPluginAsync>[0]): Promise<void> {
    app.addHook('onRequest', async (request, reply) => {
      reply.header('x-tandem-sandbox', 'true');
      if (options.apiKey !== null && request.headers.authorization !== `Bearer ${options.apiKey}`) {
        return send(reply, behaviours['wrong-key']);
      }
    });
    app.get('/models', () => ({
      object: 'list',
      data: options.models.map(({ id, contextWindowTokens }) => ({
        id,
        object: 'model',
        created: 0,
        owned_by: 'sandbox',
        max_model_len: contextWindowTokens,
      })),
    }));
    app.post('/chat/completions', async (request, reply) => {
      const parsed = callSchema.safeParse(request.body);
      if (!parsed.success) return send(reply, behaviours['bad-request']);
      const call = parsed.data;
      const seen: SeenCall = {
        model: call.model,
        body: call,
        userAgent: request.headers['user-agent'] ?? '',
        outcome: 'open',
      };
      provider.calls.push(seen);
      const left = new AbortController();
      reply.raw.on('close', () => {
        if (seen.outcome === 'open') seen.outcome = 'caller_left';
        left.abort();
      });
      const behaviour: Behaviour = behaviourNamed(provider.override ?? call.model) ?? {};
      try {
        await pause(behaviour.waitMs ?? options.firstTokenMs, left.signal);
        if (behaviour.hangUp) {
          seen.outcome = 'broken';
          reply.hijack();
          reply.raw.destroy();
          return;
        }
        if (behaviour.refusal) {
          seen.outcome = 'refused';
          return send(reply, behaviour);
        }
        const prompt = lastText(call.messages);
        const answer = completion(call, behaviour, prompt);
        if (!call.stream || behaviour.whole) {
          seen.outcome = 'answered';
          return answer.whole;
        }
        reply.hijack();
        seen.outcome = await stream(reply, answer, behaviour, left.signal);
      } catch (error) {
        if (!left.signal.aborted) throw error;
      }
    });
  }

  async function stream(
    reply: FastifyReply,
    answer: Answer,
    behaviour: Behaviour,
    left: AbortSignal,
  ): Promise<SeenCall['outcome']> {
    const raw = reply.raw;
    raw.writeHead(200, { 'content-type': 'text/event-stream', 'x-tandem-sandbox': 'true' });
    const write = (data: unknown) => raw.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
    write(answer.chunk({ role: 'assistant', content: '' }, null));
    for (const [index, piece] of answer.pieces().entries()) {
      if (behaviour.after && index === behaviour.after.pieces) {
        const { event } = behaviour.after;
        if (event === 'stall') await pause(Number.POSITIVE_INFINITY, left);
        if (event === 'malformed') write('{"choices": [{"delta": {"con');
        if (event === 'error')
          write({ error: { message: 'The engine died (sandbox)', type: 'server_error', code: null } });
        if (event === 'cut') raw.destroy();
        else raw.end();
        return 'broken';
      }
      write(answer.chunk({ content: piece }, null));
      await pause(options.millisecondsPerPiece, left);
    }
    while (behaviour.endless) {
      write(answer.chunk({ content: 'and so on '.repeat(200) }, null));
      await pause(0, left);
    }
    if (!behaviour.omit?.includes('finish')) write(answer.chunk({}, answer.finishReason));
    if (answer.usage !== undefined) write({ ...answer.chunk({}, null), choices: [], usage: answer.usage });
    if (!behaviour.omit?.includes('done')) write('[DONE]');
    raw.end();
    return 'answered';
  }
}

interface Answer {
  whole: unknown;
  pieces(): string[];
  chunk(delta: unknown, finishReason: string | null): Record<string, unknown>;
  finishReason: string;
  usage: unknown;
}

function completion(call: z.output<typeof callSchema>, behaviour: Behaviour, prompt: string): Answer {
  const full = (behaviour.echo ? prompt : sandboxAnswer(prompt)).match(/\S+\s*|\s+/g) ?? [];
  const limit = call.max_tokens ?? Number.POSITIVE_INFINITY;
  const pieces = full.slice(0, limit);
  const finishReason = behaviour.finishReason ?? (full.length > limit ? 'length' : 'stop');
  const text = pieces.join('');
  const everything = call.messages.map(({ content }) => textOf(content)).join('\n');
  const usage = usageFor(behaviour, estimateTokenCount(everything), pieces.length);
  const head = { id: 'chatcmpl-sandbox', created: 0, model: call.model, system_fingerprint: 'sandbox' };
  return {
    whole: {
      ...head,
      object: 'chat.completion',
      choices: [
        { index: 0, message: { role: 'assistant', content: text }, finish_reason: finishReason, logprobs: null },
      ],
      ...(usage !== undefined && { usage }),
    },
    pieces: () => pieces,
    chunk: (delta, reason) => ({
      ...head,
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta, finish_reason: reason, logprobs: null }],
    }),
    finishReason,
    usage: call.stream_options?.include_usage || !call.stream ? usage : undefined,
  };
}

function usageFor({ usage }: Behaviour, promptTokens: number, completionTokens: number): unknown {
  const truth = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
  switch (usage) {
    case 'none':
      return undefined;
    case 'negative':
      return { ...truth, prompt_tokens: -5 };
    case 'zero':
      return { prompt_tokens: promptTokens, completion_tokens: 0, total_tokens: promptTokens };
    case 'text':
      return { prompt_tokens: 'many', completion_tokens: 'some' };
    case 'with_cost':
      return { ...truth, cost: truth.total_tokens * reportedUsdPerToken };
    default:
      return truth;
  }
}

function send(reply: FastifyReply, behaviour: Behaviour) {
  const {
    status,
    body,
    contentType = 'application/json',
    retryAfterSeconds,
  } = behaviour.refusal ?? { status: 500, body: '' };
  if (retryAfterSeconds !== undefined) reply.header('retry-after', String(retryAfterSeconds));
  return reply.code(status).type(contentType).send(body);
}

function lastText(messages: readonly { content: unknown }[]): string {
  return textOf(messages.at(-1)?.content);
}

function textOf(content: unknown): string {
  return typeof content === 'string' ? content : JSON.stringify(content ?? '');
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) {
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
    return;
  }
  // A timer cannot wait for ever; a day is longer than any call.
  await delay(Math.min(ms, 86_400_000), undefined, { signal });
}
