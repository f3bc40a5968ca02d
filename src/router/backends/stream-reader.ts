import type { BackendConfig } from '../../config/index.ts';
import { AppError } from '../../errors.ts';
import type { Piece, Sink } from '../types.ts';
import { EventReader } from './event-reader.ts';
import type { Watch } from './watch.ts';

/** More than any model writes: an upstream that does not end is cut here. */
const longestAnswerCharacters = 1_000_000;
const longestStreamBytes = 256_000_000;
/** From the last word to the end of the stream. */
const goodbyeMs = 250;
/** From `finish_reason` to usage, which comes right behind it or never. */
const lateUsageMs = 1_000;

/** Passes a stream on, piece by piece, and tells its watch what to expect next. */
export class StreamReader {
  readonly #config: BackendConfig;
  readonly #events: EventReader;
  readonly #watch: Watch;
  readonly #sink: Sink;
  #characters = 0;
  #bytes = 0;
  #goodbyeMs = 0;
  #hasUsage = false;
  #isRefused = false;

  constructor(config: BackendConfig, choices: number, watch: Watch, sink: Sink) {
    this.#config = config;
    this.#events = new EventReader(`Backend ${config.id}`, choices);
    this.#watch = watch;
    this.#sink = sink;
  }

  /** Nothing that matters can follow, and all of it was taken. */
  get isWhole(): boolean {
    return this.#events.isWhole && !this.#isRefused;
  }

  readonly take = (bytes: Buffer): Promise<void> | undefined => {
    this.#bytes += bytes.length;
    const wait = this.#pass(this.#events.read(bytes));
    if (!wait) {
      this.#check();
      return undefined;
    }
    this.#watch.rest();
    return wait.then(() => this.#check());
  };

  /** After the last byte. */
  async end(): Promise<void> {
    await this.#pass(this.#events.end());
    if (this.#events.failure) throw this.#events.failure;
  }

  #pass(piece: Piece | null): Promise<void> | undefined {
    if (!piece) return undefined;
    this.#characters += piece.text.length + piece.otherText.length;
    this.#hasUsage ||= piece.usage !== null;
    try {
      return this.#sink(piece)?.catch((error: unknown) => this.#refuse(error));
    } catch (error) {
      return this.#refuse(error);
    }
  }

  #refuse(error: unknown): never {
    this.#isRefused = true;
    throw error;
  }

  #check(): void {
    if (this.#events.failure) throw this.#events.failure;
    if (this.#characters > longestAnswerCharacters || this.#bytes > longestStreamBytes)
      throw new AppError('upstream_invalid', `Backend ${this.#config.id} did not stop sending.`);
    const { idleTimeoutMs, firstTokenTimeoutMs } = this.#config;
    if (this.isWhole) this.#sayGoodbye();
    else if (this.#characters > 0) this.#watch.expect(idleTimeoutMs, 'stopped sending');
    // Comments keep a connection open but are no answer: until the first event the first-byte limit holds.
    else if (this.#events.begun) this.#watch.expectSinceStart(firstTokenTimeoutMs, 'sent no token');
  }

  /** The end is read too, so that the connection can be used again; but it is not waited for long. */
  #sayGoodbye(): void {
    const withinMs = this.#events.done || this.#hasUsage ? goodbyeMs : lateUsageMs;
    if (withinMs === this.#goodbyeMs) return;
    this.#goodbyeMs = withinMs;
    this.#watch.expect(withinMs, 'did not end its stream');
  }
}
