import { Agent } from 'undici';
import { type Cancellation, Canceller } from '../../cancellation.ts';
import type { BackendConfig, BackendKind } from '../../config/index.ts';
import type { Prefill } from '../../config/schema.ts';
import { AppError } from '../../errors.ts';
import { parseJson, toNetworkError, userAgent } from '../../http.ts';
import type { Log } from '../../log.ts';
import type { CatalogueModel } from '../../usage/prices.ts';
import type { Backend, CallLimits, Model, Operation, Sink, UpstreamCall } from '../types.ts';
import { eventsOf, readWhole } from './chunk.ts';
import { BodyReader, exchange, type ResponseHead } from './exchange.ts';
import { catalogueFor, discoveredModels, type ListedModel, modelsBeforehand } from './models.ts';
import { StreamReader } from './stream-reader.ts';
import { Watch } from './watch.ts';
import { capabilitiesIn, errorFromResponse, modelListSchema } from './wire.ts';

const listTimeoutMs = 3_000;
const listMaxAgeMs = 60 * 60_000;
/** A list that could not be read is asked for again after this long. */
const listRetryAgeMs = 30_000;
const longestBodyBytes = 32_000_000;
const longestErrorBytes = 100_000;

/** Any server that speaks OpenAI's chat completions: providers, vLLM, SGLang. Streams inside, whoever asks. */
export class OpenAiBackend implements Backend {
  readonly id: string;
  readonly kind: BackendKind;
  readonly unusable: string | null;
  readonly maxRetries: number;
  readonly maxConcurrentRequests: number | null;
  readonly prefill: Prefill | null;
  readonly #origin: string;
  readonly #basePath: string;
  readonly #config: BackendConfig;
  readonly #agent: Agent;
  readonly #log: Log;
  readonly #catalogue: readonly CatalogueModel[];
  #headers: Record<string, string> | undefined;
  #headersKey: string | null = null;
  #models: readonly Model[];
  #listDueAtMs = 0;
  #listing: Promise<void> | undefined;

  constructor(config: BackendConfig, agent: Agent, log: Log) {
    this.id = config.id;
    this.kind = config.kind;
    this.unusable = config.unusable;
    this.maxRetries = config.maxRetries;
    this.maxConcurrentRequests = config.maxConcurrentRequests;
    this.prefill = config.prefill;
    const { origin, pathname } = new URL(config.baseUrl);
    this.#origin = origin;
    this.#basePath = pathname === '/' ? '' : pathname;
    this.#config = config;
    this.#agent = agent;
    this.#log = log;
    this.#catalogue = catalogueFor(config);
    this.#models = modelsBeforehand(config);
  }

  models(): readonly Model[] {
    return this.#models;
  }

  refresh(): Promise<void> | undefined {
    if (this.#config.models || this.unusable || performance.now() < this.#listDueAtMs) return undefined;
    // For all who wait, so it does not end with the one who came first.
    this.#listing ??= this.#list(new Canceller()).finally(() => {
      this.#listing = undefined;
    });
    return this.#listing;
  }

  async #list(signal: Cancellation): Promise<void> {
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
  async listModels(signal: Cancellation): Promise<ListedModel[]> {
    const watch = new Watch(signal, listTimeoutMs, this.#who);
    const body = new BodyReader(longestBodyBytes);
    await this.#exchange('GET', '/models', null, watch, () => body).catch((error: unknown) => {
      throw toNetworkError(error, this.#who);
    });
    const parsed = modelListSchema.safeParse(parseJson(body.bytes.toString('utf8')));
    if (!parsed.success) throw this.#invalid('sent something that is not a list of models');
    return parsed.data.data.map((model) => ({
      id: model.id,
      contextWindowTokens: model.context_length ?? model.max_model_len ?? null,
      supports: capabilitiesIn(model),
    }));
  }

  async send(call: UpstreamCall, limits: CallLimits, signal: Cancellation, sink: Sink): Promise<void> {
    const watch = new Watch(signal, limits.wholeMs, this.#who);
    const { timeoutMs, wholeTimeoutMs, firstTokenTimeoutMs } = this.#config;
    const beginMs = call.stream ? Math.min(timeoutMs, firstTokenTimeoutMs) : wholeTimeoutMs;
    watch.expect(Math.min(limits.firstByteMs, beginMs), 'did not begin to answer');
    let stream: StreamReader | undefined;
    const body = new BodyReader(longestBodyBytes);
    try {
      await this.#exchange('POST', pathOf[call.operation], call.body, watch, ({ headers }) => {
        const isStream = String(headers['content-type'] ?? '').includes('text/event-stream');
        if (isStream && !call.stream) throw this.#invalid('answered with a stream where none was asked for');
        if (!isStream) return body;
        stream = new StreamReader(this.#config, call.choices, watch, sink);
        return stream;
      });
      if (stream) await stream.end();
    } catch (error) {
      // Once the answer is whole, only its goodbye is missing.
      if (error instanceof AppError && !stream?.isWhole) throw error;
      if (!stream?.isWhole) throw stream ? this.#cut(error) : toNetworkError(error, this.#who);
    }
    if (!stream) await this.#passWhole(call, body.bytes, sink);
    else if (!stream.isWhole) throw this.#cut();
  }

  #passWhole(call: UpstreamCall, bytes: Buffer, sink: Sink): Promise<void> | undefined {
    const json = parseJson(bytes.toString('utf8'));
    const { text, otherText, finishReason, usage } = readWhole(this.#who, call.operation, json);
    const events = call.stream ? eventsOf(json) : null;
    return sink({
      bytes: events?.bytes ?? bytes,
      usageBytes: events?.usageBytes ?? null,
      text,
      otherText,
      finishReason: finishReason ?? 'stop',
      usage,
    });
  }

  #invalid(what: string): AppError {
    return new AppError('upstream_invalid', `${this.#who} ${what}.`);
  }

  #cut(cause?: unknown): AppError {
    return new AppError('upstream_cut', `${this.#who} broke off in the middle of its answer.`, { cause });
  }

  /** Sends, and hands the body of a good answer to the reader that `onHead` picks. Error answers throw. */
  async #exchange(
    method: 'GET' | 'POST',
    path: string,
    body: string | null,
    watch: Watch,
    onHead: (head: ResponseHead) => BodyReader | StreamReader,
  ): Promise<void> {
    const { apiKey, idleTimeoutMs } = this.#config;
    const refusal = new BodyReader(longestErrorBytes);
    let head: ResponseHead | undefined;
    try {
      const key = apiKey && (await apiKey.read());
      const headers = this.#headersWith(key);
      const request = { origin: this.#origin, path: this.#basePath + path, method, headers, body };
      await exchange(this.#agent, request, watch, (response) => {
        head = response;
        const reader = response.status < 300 ? onHead(response) : refusal;
        if (reader instanceof StreamReader) return reader.take;
        return (bytes) => {
          watch.expect(idleTimeoutMs, 'stopped sending');
          if (reader.add(bytes) || reader === refusal) return undefined;
          throw this.#invalid(`sent more than ${longestBodyBytes} bytes`);
        };
      });
    } catch (error) {
      // What a refusal has said so far will do.
      if (!head || head.status < 300 || watch.reason?.code === 'cancelled') throw error;
    } finally {
      watch.stop();
    }
    if (head && head.status >= 300) {
      const { status, headers } = head;
      const said = refusal.bytes.toString('utf8');
      throw errorFromResponse(this.#who, apiKey?.origin ?? null, status, headers['retry-after'], said);
    }
  }

  /** The same for every call, unless the key is another one. */
  #headersWith(key: string | null): Record<string, string> {
    if (this.#headers === undefined || key !== this.#headersKey) {
      this.#headersKey = key;
      this.#headers = {
        'user-agent': userAgent,
        accept: 'text/event-stream, application/json',
        'content-type': 'application/json',
        ...(key !== null && { authorization: `Bearer ${key}` }),
      };
    }
    return this.#headers;
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
