import { createParser } from 'eventsource-parser';
import { Agent, type Dispatcher, request } from 'undici';
import type { BackendConfig, BackendKind } from '../../config/index.ts';
import { presets } from '../../config/presets.ts';
import { AppError, abortReason } from '../../errors.ts';
import { parseJson, toNetworkError, userAgent } from '../../http.ts';
import type { Log } from '../../log.ts';
import { type CatalogueModel, catalogueOf } from '../../usage/prices.ts';
import type { Backend, ChatCall, ChatEvent, Model } from '../types.ts';
import { configuredModels, discoveredModels, type ListedModel } from './models.ts';
import { errorFromChunk, errorFromResponse, modelListSchema, parseChunk, parseCompletion, readUsage } from './wire.ts';

const listTimeoutMs = 3_000;
const listMaxAgeMs = 60 * 60_000;
/** A list that could not be read is asked for again after this long. */
const listRetryAgeMs = 30_000;
/** More text than any model writes, and little enough for a client to take: an upstream that does not end is cut here. */
const longestAnswerCharacters = 1_000_000;
const longestBodyBytes = 32_000_000;
/** From `[DONE]` to the end of the stream. */
const goodbyeMs = 250;

/** Any server that speaks OpenAI's chat completions: providers, vLLM, SGLang. Streams inside, whoever asks. */
export class OpenAiBackend implements Backend {
  readonly id: string;
  readonly kind: BackendKind;
  readonly unusable: string | null;
  readonly timeoutMs: number;
  readonly #config: BackendConfig;
  readonly #agent: Agent;
  readonly #log: Log;
  readonly #catalogue: readonly CatalogueModel[];
  #models: readonly Model[];
  #listDueAtMs = 0;
  #listing: Promise<void> | undefined;

  constructor(config: BackendConfig, agent: Agent, log: Log) {
    this.id = config.id;
    this.kind = config.kind;
    this.unusable = config.unusable;
    this.timeoutMs = config.timeoutMs;
    this.#config = config;
    this.#agent = agent;
    this.#log = log;
    this.#catalogue = config.preset ? catalogueOf(presets[config.preset].catalogue) : [];
    this.#models = config.models
      ? configuredModels(config.models, this.#catalogue)
      : discoveredModels(null, this.#catalogue);
  }

  models(): readonly Model[] {
    return this.#models;
  }

  async refresh(signal: AbortSignal): Promise<void> {
    if (this.#config.models || this.unusable || performance.now() < this.#listDueAtMs) return;
    this.#listing ??= this.#list(signal).finally(() => {
      this.#listing = undefined;
    });
    await this.#listing;
  }

  async #list(signal: AbortSignal): Promise<void> {
    try {
      this.#models = discoveredModels(await this.listModels(signal), this.#catalogue);
      this.#listDueAtMs = performance.now() + listMaxAgeMs;
    } catch (error) {
      this.#listDueAtMs = performance.now() + listRetryAgeMs;
      this.#log.warn(
        { backend: this.id, error: error instanceof Error ? error.message : error },
        'the list of models could not be read',
      );
    }
  }

  /** `GET /models`, live. */
  async listModels(signal: AbortSignal): Promise<ListedModel[]> {
    const response = await this.#send(
      'GET',
      '/models',
      undefined,
      AbortSignal.any([signal, timeout(listTimeoutMs, this.#who)]),
    );
    const parsed = modelListSchema.safeParse(parseJson(await this.#readAll(response)));
    if (!parsed.success)
      throw new AppError('upstream_invalid', `${this.#who} sent something that is not a list of models.`);
    return parsed.data.data.map((model) => ({
      id: model.id,
      contextWindowTokens: model.context_length ?? model.max_model_len ?? null,
    }));
  }

  async *chat(call: ChatCall, timeoutMs: number, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    const watch = new Watch(signal, this.#who);
    try {
      watch.expect(Math.min(timeoutMs, this.timeoutMs), 'did not begin to answer');
      const response = await this.#send('POST', '/chat/completions', wireCall(call), watch.signal);
      const type = String(response.headers['content-type'] ?? '');
      if (type.includes('text/event-stream')) yield* this.#readStream(response, watch);
      else yield* this.#readWhole(response);
    } catch (error) {
      throw watch.signal.aborted ? abortReason(watch.signal) : toNetworkError(error, this.#who);
    } finally {
      watch.stop();
    }
  }

  async *#readStream(response: Dispatcher.ResponseData, watch: Watch): AsyncGenerator<ChatEvent> {
    const events: string[] = [];
    const parser = createParser({ onEvent: (event) => events.push(event.data) });
    const decoder = new TextDecoder();
    const state: StreamState = { begun: false, finished: false, done: false, characters: 0 };
    let bytesRead = 0;
    try {
      for await (const bytes of response.body as AsyncIterable<Uint8Array>) {
        bytesRead += bytes.length;
        if (bytesRead > longestBodyBytes) throw this.#endless();
        parser.feed(decoder.decode(bytes, { stream: true }));
        // Comments keep a connection open but are no answer: until the first event the first-byte limit holds.
        state.begun ||= events.length > 0;
        if (state.begun) watch.expect(state.done ? goodbyeMs : this.#config.idleTimeoutMs, 'stopped sending');
        yield* this.#take(events, state);
        // Read to the end after that, so that the connection can be used again; but do not wait long for it.
        if (state.done) watch.expect(goodbyeMs, 'did not end its stream');
      }
      // Some servers leave out the blank line that ends the last event.
      parser.feed('\n\n');
      yield* this.#take(events, state);
    } catch (error) {
      // Once the answer is whole, only its goodbye is missing.
      if (!state.finished && !state.done) {
        if (error instanceof AppError || watch.signal.aborted) throw error;
        throw this.#cut(error);
      }
    } finally {
      response.body.destroy();
    }
    if (!state.finished && !state.done) throw this.#cut();
    if (!state.finished) yield { type: 'finish', reason: 'stop' };
  }

  *#take(events: string[], state: StreamState): Generator<ChatEvent> {
    for (const data of events.splice(0)) {
      if (data === '[DONE]') {
        state.done = true;
        continue;
      }
      const chunk = parseChunk(this.#who, data);
      if (chunk.error) throw errorFromChunk(this.#who, chunk.error);
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) {
        state.characters += choice.delta.content.length;
        if (state.characters > longestAnswerCharacters) throw this.#endless();
        yield { type: 'text', text: choice.delta.content };
      }
      if (choice?.finish_reason) {
        state.finished = true;
        yield { type: 'finish', reason: finishReason(choice.finish_reason) };
      }
      if (chunk.usage) yield { type: 'usage', ...readUsage(chunk.usage) };
    }
  }

  #endless(): AppError {
    return new AppError('upstream_invalid', `${this.#who} did not stop sending.`);
  }

  #cut(cause?: unknown): AppError {
    return new AppError('upstream_cut', `${this.#who} broke off in the middle of its answer.`, { cause });
  }

  /** Some servers ignore `stream: true`. */
  async *#readWhole(response: Dispatcher.ResponseData): AsyncGenerator<ChatEvent> {
    const { choices, usage } = parseCompletion(this.#who, await this.#readAll(response));
    const [choice] = choices;
    if (choice?.message.content) yield { type: 'text', text: choice.message.content };
    yield { type: 'finish', reason: finishReason(choice?.finish_reason ?? 'stop') };
    yield { type: 'usage', ...readUsage(usage) };
  }

  /** Sends and checks the status; error answers throw. */
  async #send(
    method: 'GET' | 'POST',
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<Dispatcher.ResponseData> {
    signal.throwIfAborted();
    const key = await this.#config.apiKey?.read();
    const response = await request(this.#config.baseUrl + path, {
      method,
      dispatcher: this.#agent,
      signal,
      headers: {
        'user-agent': userAgent,
        accept: 'text/event-stream, application/json',
        ...(key && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    }).catch((error: unknown) => {
      throw signal.aborted ? abortReason(signal) : toNetworkError(error, this.#who);
    });
    if (response.statusCode < 300) return response;
    const text = await this.#readAll(response).catch(() => '');
    throw errorFromResponse(
      this.#who,
      this.#config.apiKey?.origin ?? null,
      response.statusCode,
      response.headers['retry-after'],
      text,
    );
  }

  async #readAll(response: Dispatcher.ResponseData): Promise<string> {
    const pieces: Buffer[] = [];
    let length = 0;
    for await (const piece of response.body) {
      pieces.push(piece as Buffer);
      length += (piece as Buffer).length;
      if (length > longestBodyBytes)
        throw new AppError('upstream_invalid', `${this.#who} sent more than ${longestBodyBytes} bytes.`);
    }
    return Buffer.concat(pieces).toString('utf8');
  }

  get #who(): string {
    return `Backend ${this.id}`;
  }
}

/** Connections to all backends: kept alive, shared, and closed with the program. */
export function createAgent(): Agent {
  // The time-outs are ours, per call and to the millisecond; undici's own would be a second, coarser opinion.
  return new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: 512 });
}

function wireCall(call: ChatCall): Record<string, unknown> {
  return {
    model: call.model,
    messages: call.messages,
    max_tokens: call.maxTokens,
    ...(call.temperature !== undefined && { temperature: call.temperature }),
    stream: true,
    stream_options: { include_usage: true },
  };
}

interface StreamState {
  begun: boolean;
  /** `finish_reason` was seen. */
  finished: boolean;
  /** `[DONE]` was seen. */
  done: boolean;
  characters: number;
}

/** A word of the protocol, or `other`: it goes into the ledger, which takes no free text. */
function finishReason(reason: string): string {
  return /^[a-z_]{1,32}$/.test(reason) ? reason : 'other';
}

function timeout(ms: number, who: string): AbortSignal {
  const controller = new AbortController();
  setTimeout(
    () => controller.abort(new AppError('upstream_timeout', `${who} did not answer within ${ms} ms.`)),
    ms,
  ).unref();
  return controller.signal;
}

/** Aborts the call when the next sign of life does not come in time. */
class Watch {
  readonly signal: AbortSignal;
  readonly #silence = new AbortController();
  readonly #who: string;
  #timer: NodeJS.Timeout | undefined;

  constructor(signal: AbortSignal, who: string) {
    this.signal = AbortSignal.any([signal, this.#silence.signal]);
    this.#who = who;
  }

  expect(withinMs: number, what: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#silence.abort(new AppError('upstream_timeout', `${this.#who} ${what} within ${withinMs} ms.`));
    }, withinMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
