import { Agent, type Dispatcher } from 'undici';
import type { BackendConfig, BackendKind } from '../../config/index.ts';
import { presets } from '../../config/presets.ts';
import type { Prefill } from '../../config/schema.ts';
import { AppError, abortReason } from '../../errors.ts';
import { parseJson, toNetworkError, userAgent } from '../../http.ts';
import type { Log } from '../../log.ts';
import { type CatalogueModel, catalogueOf } from '../../usage/prices.ts';
import type { Backend, CallLimits, Model, Operation, Piece, Sink, UpstreamCall } from '../types.ts';
import { eachChunk, readAll } from './body.ts';
import { eventsOf, readWhole } from './chunk.ts';
import { EventReader } from './event-reader.ts';
import { configuredModels, discoveredModels, type ListedModel } from './models.ts';
import { Watch } from './watch.ts';
import { errorFromResponse, modelListSchema } from './wire.ts';

const listTimeoutMs = 3_000;
const listMaxAgeMs = 60 * 60_000;
/** A list that could not be read is asked for again after this long. */
const listRetryAgeMs = 30_000;
/** More text than any model writes, and little enough for a client to take: an upstream that does not end is cut here. */
const longestAnswerCharacters = 1_000_000;
const longestBodyBytes = 32_000_000;
const longestErrorBytes = 100_000;
/** From the last word to the end of the stream. */
const goodbyeMs = 250;
/** From `finish_reason` to usage, which comes right behind it or never. */
const lateUsageMs = 1_000;

type Response = Dispatcher.ResponseData;

/** Any server that speaks OpenAI's chat completions: providers, vLLM, SGLang. Streams inside, whoever asks. */
export class OpenAiBackend implements Backend {
  readonly id: string;
  readonly kind: BackendKind;
  readonly unusable: string | null;
  readonly maxRetries: number;
  readonly prefill: Prefill | null;
  readonly #origin: string;
  readonly #basePath: string;
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
    this.maxRetries = config.maxRetries;
    this.prefill = config.prefill;
    const { origin, pathname } = new URL(config.baseUrl);
    this.#origin = origin;
    this.#basePath = pathname === '/' ? '' : pathname;
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

  refresh(): Promise<void> | undefined {
    if (this.#config.models || this.unusable || performance.now() < this.#listDueAtMs) return undefined;
    // For all who wait, so it does not end with the one who came first.
    this.#listing ??= this.#list(new AbortController().signal).finally(() => {
      this.#listing = undefined;
    });
    return this.#listing;
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
    const watch = new Watch(signal, listTimeoutMs, this.#who);
    const parsed = await this.#request('GET', '/models', null, watch.signal)
      .then(({ body }) => readAll(body, longestBodyBytes))
      .finally(() => watch.stop())
      .then((bytes) => modelListSchema.safeParse(parseJson(bytes.toString('utf8'))));
    if (!parsed.success) throw this.#invalid('sent something that is not a list of models');
    return parsed.data.data.map((model) => ({
      id: model.id,
      contextWindowTokens: model.context_length ?? model.max_model_len ?? null,
    }));
  }

  async send(call: UpstreamCall, limits: CallLimits, signal: AbortSignal, sink: Sink): Promise<void> {
    const watch = new Watch(signal, limits.wholeMs, this.#who);
    try {
      const { timeoutMs, firstTokenTimeoutMs } = this.#config;
      const beginMs = call.stream ? Math.min(timeoutMs, firstTokenTimeoutMs) : timeoutMs;
      watch.expect(Math.min(limits.firstByteMs, beginMs), 'did not begin to answer');
      const response = await this.#request('POST', pathOf[call.operation], call.body, watch.signal);
      const type = String(response.headers['content-type'] ?? '');
      if (type.includes('text/event-stream')) await this.#relayStream(response, call, watch, sink);
      else await this.#relayWhole(response, call, watch, sink);
    } catch (error) {
      throw watch.signal.aborted ? abortReason(watch.signal) : toNetworkError(error, this.#who);
    } finally {
      watch.stop();
    }
  }

  async #relayStream(response: Response, call: UpstreamCall, watch: Watch, sink: Sink): Promise<void> {
    if (!call.stream) throw this.#invalid('answered with a stream where none was asked for');
    const reader = new EventReader(this.#who, call.choices);
    const pace = new Pace(watch, reader, this.#config);
    const receipt = new Receipt(sink);
    const settle = () => {
      if (reader.failure) throw reader.failure;
      if (pace.isEndless) throw this.#invalid('did not stop sending');
      pace.expectNext();
    };
    try {
      await eachChunk(response.body, (bytes) => {
        const piece = reader.read(bytes);
        pace.heard(bytes, piece);
        const wait = piece ? receipt.pass(piece) : undefined;
        if (wait) {
          watch.rest();
          return wait.then(settle);
        }
        settle();
        return undefined;
      });
      const last = reader.end();
      if (last) await receipt.pass(last);
      if (reader.failure) throw reader.failure;
    } catch (error) {
      // Once the answer is whole and taken, only its goodbye is missing.
      if (receipt.isRefused || !reader.isWhole)
        throw error instanceof AppError || watch.signal.aborted ? error : this.#cut(error);
    } finally {
      response.body.destroy();
    }
    if (!reader.isWhole) throw this.#cut();
  }

  async #relayWhole(response: Response, call: UpstreamCall, watch: Watch, sink: Sink): Promise<void> {
    const bytes = await readAll(response.body, longestBodyBytes, (over) => {
      if (over) throw this.#invalid(`sent more than ${longestBodyBytes} bytes`);
      watch.expect(this.#config.idleTimeoutMs, 'stopped sending');
    });
    const json = parseJson(bytes.toString('utf8'));
    const { text, otherText, finishReason, usage } = readWhole(this.#who, call.operation, json);
    const relayed = call.stream ? eventsOf(json) : { bytes, usageBytes: null };
    await sink({ ...relayed, text, otherText, finishReason: finishReason ?? 'stop', usage });
  }

  #invalid(what: string): AppError {
    return new AppError('upstream_invalid', `${this.#who} ${what}.`);
  }

  #cut(cause?: unknown): AppError {
    return new AppError('upstream_cut', `${this.#who} broke off in the middle of its answer.`, { cause });
  }

  /** Sends and checks the status; error answers throw. */
  async #request(method: 'GET' | 'POST', path: string, body: string | null, signal: AbortSignal): Promise<Response> {
    signal.throwIfAborted();
    const { apiKey } = this.#config;
    const key = await apiKey?.read();
    const response = await this.#agent
      .request({
        origin: this.#origin,
        path: this.#basePath + path,
        method,
        signal,
        headers: {
          'user-agent': userAgent,
          accept: 'text/event-stream, application/json',
          ...(key && { authorization: `Bearer ${key}` }),
          ...(body !== null && { 'content-type': 'application/json' }),
        },
        body,
      })
      .catch((error: unknown) => {
        throw signal.aborted ? abortReason(signal) : toNetworkError(error, this.#who);
      });
    if (response.statusCode < 300) return response;
    const bytes = await readAll(response.body, longestErrorBytes).catch(() => Buffer.alloc(0));
    throw errorFromResponse(
      this.#who,
      apiKey?.origin ?? null,
      response.statusCode,
      response.headers['retry-after'],
      bytes.toString('utf8'),
    );
  }

  get #who(): string {
    return `Backend ${this.id}`;
  }
}

const pathOf: Record<Operation, string> = {
  chat: '/chat/completions',
  completions: '/completions',
  embeddings: '/embeddings',
};

/** Connections to all backends: kept alive, shared, and closed with the program. */
export function createAgent(): Agent {
  // The time-outs are ours, per call and to the millisecond; undici's own would be a second, coarser opinion.
  return new Agent({ headersTimeout: 0, bodyTimeout: 0, connections: 512 });
}

/** Hands pieces over, and knows whether one was refused. */
class Receipt {
  isRefused = false;
  readonly #sink: Sink;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  pass(piece: Piece): Promise<void> | undefined {
    try {
      return this.#sink(piece)?.catch((error: unknown) => this.#refuse(error));
    } catch (error) {
      return this.#refuse(error);
    }
  }

  #refuse(error: unknown): never {
    this.isRefused = true;
    throw error;
  }
}

/** How much a stream has sent, and what is expected of it next. */
class Pace {
  readonly #watch: Watch;
  readonly #reader: EventReader;
  readonly #config: BackendConfig;
  #characters = 0;
  #bytes = 0;
  #goodbyeMs = 0;
  #hasUsage = false;

  constructor(watch: Watch, reader: EventReader, config: BackendConfig) {
    this.#watch = watch;
    this.#reader = reader;
    this.#config = config;
  }

  get isEndless(): boolean {
    return this.#characters > longestAnswerCharacters || this.#bytes > longestBodyBytes;
  }

  heard(bytes: Buffer, piece: Piece | null): void {
    this.#bytes += bytes.length;
    if (!piece) return;
    this.#characters += piece.text.length + piece.otherText.length;
    this.#hasUsage ||= piece.usage !== null;
  }

  expectNext(): void {
    const { idleTimeoutMs, firstTokenTimeoutMs } = this.#config;
    if (this.#reader.isWhole) this.#sayGoodbye();
    else if (this.#characters > 0) this.#watch.expect(idleTimeoutMs, 'stopped sending');
    // Comments keep a connection open but are no answer: until the first event the first-byte limit holds.
    else if (this.#reader.begun) this.#watch.expectSinceStart(firstTokenTimeoutMs, 'sent no token');
  }

  /** The end is read too, so that the connection can be used again; but it is not waited for long. */
  #sayGoodbye(): void {
    const withinMs = this.#reader.done || this.#hasUsage ? goodbyeMs : lateUsageMs;
    if (withinMs === this.#goodbyeMs) return;
    this.#goodbyeMs = withinMs;
    this.#watch.expect(withinMs, 'did not end its stream');
  }
}
