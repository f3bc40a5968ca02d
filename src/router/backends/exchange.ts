import type { IncomingHttpHeaders } from 'node:http';
import type { Agent, Dispatcher } from 'undici';
import type { Watch } from './watch.ts';

export interface ExchangeRequest {
  origin: string;
  path: string;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body: string | null;
}

export interface ResponseHead {
  status: number;
  headers: IncomingHttpHeaders;
}

/** Takes what arrives as it arrives. Where it returns a promise, nothing more is read until that is kept. */
export type Taker = (bytes: Buffer) => Promise<void> | undefined;

/**
 * One HTTP call, ended by its watch. Resolves when the response is over; rejects with the watch's reason, with what a
 * taker throws, or with undici's error. On undici's lowest level, without streams in between: they cost more than all
 * that is done with the bytes.
 */
export function exchange(
  agent: Agent,
  request: ExchangeRequest,
  watch: Watch,
  onHead: (head: ResponseHead) => Taker,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let controller: Dispatcher.DispatchController | undefined;
    let take: Taker | undefined;
    const fail = (error: unknown) => {
      reject(error);
      controller?.abort(error instanceof Error ? error : new Error('ended'));
    };
    watch.onAbort(fail);
    agent.dispatch(request, {
      onRequestStart(started) {
        controller = started;
        if (watch.reason) started.abort(watch.reason);
      },
      onResponseStart(_controller, status, headers) {
        if (status < 200) return;
        try {
          take = onHead({ status, headers });
        } catch (error) {
          fail(error);
        }
      },
      onResponseData(running, bytes) {
        try {
          const wait = take?.(bytes);
          if (!wait) return;
          running.pause();
          wait.then(() => running.resume(), fail);
        } catch (error) {
          fail(error);
        }
      },
      onResponseEnd: () => resolve(),
      onResponseError: (_controller, error) => reject(error),
    });
  });
}

/** Gathers a body of at most `limitBytes`. */
export class BodyReader {
  readonly #parts: Buffer[] = [];
  readonly #limitBytes: number;
  #length = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** False when that was too much; it is not kept then. */
  add(bytes: Buffer): boolean {
    this.#length += bytes.length;
    if (this.#length > this.#limitBytes) return false;
    this.#parts.push(bytes);
    return true;
  }

  get bytes(): Buffer {
    const [first, ...more] = this.#parts;
    return first && more.length === 0 ? first : Buffer.concat(this.#parts);
  }
}
