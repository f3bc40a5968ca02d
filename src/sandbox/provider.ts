import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import { type Behaviour, type BehaviourName, behaviourNamed, behaviours } from './behaviours.ts';
import { type Answer, answerFor, type CallShape, callSchemas } from './completion.ts';
import { embeddingCallSchema, embeddings } from './embedding.ts';

export interface ProviderOptions {
  apiKey: string | null;
  models: readonly { id: string; contextWindowTokens: number }[];
  firstTokenMs: number;
  millisecondsPerPiece: number;
  /** Answers 404 to models that are not listed (and are no behaviour's name). */
  onlyListed?: boolean;
  /** Asked before every piece: false hangs up, since the machine under the server is gone. */
  isUp?: () => boolean;
}

/** What an engine counts. */
export interface Load {
  openCalls: number;
  openPromptTokens: number;
  promptTokens: number;
  generationTokens: number;
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
  load: Load;
  /** Put over every model, until taken away with null. */
  override: BehaviourName | null;
}

/** An OpenAI-compatible model server over real HTTP. Deterministic; no model runs. */
export function createProvider(options: ProviderOptions): Provider {
  const load: Load = { openCalls: 0, openPromptTokens: 0, promptTokens: 0, generationTokens: 0 };
  const listed = new Set(options.models.map(({ id }) => id));
  const isUp = options.isUp ?? (() => true);
  const provider: Provider = { calls: [], load, override: null, plugin };
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
    app.post('/chat/completions', (request, reply) => complete('chat', request, reply));
    app.post('/completions', (request, reply) => complete('text', request, reply));
    app.post('/embeddings', async (request, reply) => {
      const parsed = embeddingCallSchema.safeParse(request.body);
      if (!parsed.success) return send(reply, behaviours['bad-request']);
      const { seen, behaviour, left } = begin(parsed.data, request, reply);
      return answerUnlessFaulty(reply, seen, behaviour, left, () => {
        seen.outcome = 'answered';
        return embeddings(parsed.data);
      });
    });
  }

  async function complete(shape: CallShape, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const parsed = callSchemas[shape].safeParse(request.body);
    if (!parsed.success) return send(reply, behaviours['bad-request']);
    const call = parsed.data;
    const { seen, behaviour, left } = begin(call, request, reply);
    const answer = answerFor(call, behaviour);
    load.openPromptTokens += answer.promptTokens;
    reply.raw.on('close', () => {
      load.openPromptTokens -= answer.promptTokens;
    });
    return answerUnlessFaulty(reply, seen, behaviour, left, async () => {
      load.promptTokens += answer.promptTokens;
      if (!call.stream || behaviour.whole) {
        seen.outcome = 'answered';
        load.generationTokens += answer.pieces.length;
        return answer.whole;
      }
      reply.hijack();
      seen.outcome = await stream(reply, answer, behaviour, left);
      return undefined;
    });
  }

  function begin(
    call: { model: string },
    request: FastifyRequest,
    reply: FastifyReply,
  ): { seen: SeenCall; behaviour: Behaviour; left: AbortSignal } {
    const userAgent = request.headers['user-agent'] ?? '';
    const seen: SeenCall = { model: call.model, body: call, userAgent, outcome: 'open' };
    provider.calls.push(seen);
    const left = new AbortController();
    load.openCalls += 1;
    reply.raw.on('close', () => {
      load.openCalls -= 1;
      if (seen.outcome === 'open') seen.outcome = 'caller_left';
      left.abort();
    });
    return { seen, behaviour: behaviourFor(call.model), left: left.signal };
  }

  function behaviourFor(model: string): Behaviour {
    const named = behaviourNamed(provider.override ?? model);
    if (named) return named;
    return options.onlyListed && !listed.has(model) ? behaviours['no-such-model'] : {};
  }

  async function answerUnlessFaulty(
    reply: FastifyReply,
    seen: SeenCall,
    behaviour: Behaviour,
    left: AbortSignal,
    answer: () => unknown,
  ): Promise<unknown> {
    try {
      await pause(behaviour.waitMs ?? options.firstTokenMs, left);
      if (behaviour.hangUp || !isUp()) {
        seen.outcome = 'broken';
        reply.hijack();
        reply.raw.destroy();
        return undefined;
      }
      if (behaviour.refusal) {
        seen.outcome = 'refused';
        return send(reply, behaviour);
      }
      return await answer();
    } catch (error) {
      if (!left.aborted) throw error;
      return undefined;
    }
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
    const hangsUp = () => {
      if (isUp()) return false;
      raw.destroy();
      return true;
    };
    if (answer.opening) write(answer.opening);
    for (const [index, piece] of answer.pieces.entries()) {
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
      if (hangsUp()) return 'broken';
      write(answer.chunk(piece));
      load.generationTokens += 1;
      await pause(options.millisecondsPerPiece, left);
    }
    while (behaviour.endless) {
      if (hangsUp()) return 'broken';
      write(answer.chunk('and so on '.repeat(200)));
      await pause(0, left);
    }
    if (!behaviour.omit?.includes('finish')) write(answer.chunk(null));
    if (answer.usage !== undefined) write({ ...answer.chunk(null), choices: [], usage: answer.usage });
    if (!behaviour.omit?.includes('done')) write('[DONE]');
    raw.end();
    return 'answered';
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

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) {
    await new Promise((resolve) => setImmediate(resolve));
    signal.throwIfAborted();
    return;
  }
  // A timer cannot wait for ever; a day is longer than any call.
  await delay(Math.min(ms, 86_400_000), undefined, { signal });
}
