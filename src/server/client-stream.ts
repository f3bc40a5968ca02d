import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { AppError } from '../errors.ts';
import type { Redactor } from '../redactor.ts';
import type { Receiver } from '../router/delivery.ts';
import type { Answer } from '../router/router.ts';
import type { Decision } from '../router/types.ts';
import { costHeader, costText, routeHeaders } from './answer-headers.ts';
import type { OpenAiError } from './openai-errors.ts';

const endMark = 'data: [DONE]\n\n';

/** The event stream to one caller. Its head goes out with the first piece; until then any answer can still be given. */
export class ClientStream {
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #wantsUsage: boolean;
  readonly #unreadMs: number;
  readonly #redactor: Redactor;

  constructor(reply: FastifyReply, wantsUsage: boolean, unreadMs: number, redactor: Redactor) {
    this.#reply = reply;
    this.#raw = reply.raw;
    this.#wantsUsage = wantsUsage;
    this.#unreadMs = unreadMs;
    this.#redactor = redactor;
  }

  get hasBegun(): boolean {
    return this.#raw.headersSent;
  }

  readonly receive: Receiver = (piece, candidate, decision) => {
    if (this.#raw.destroyed) throw gone();
    if (!this.hasBegun) this.#begin(candidate, decision);
    let isTaken = piece.bytes.length === 0 || this.#raw.write(this.#redactor.hideInBytes(piece.bytes));
    if (this.#wantsUsage && piece.usageBytes) isTaken = this.#raw.write(this.#redactor.hideInBytes(piece.usageBytes));
    return isTaken ? undefined : this.#untilRead();
  };

  /** After a whole answer. Its cost is known only now, so it goes into a trailer. */
  end(answer: Answer): void {
    if (!this.hasBegun) this.#begin(answer.answeredBy, answer.decision);
    if (this.#hasTrailers) this.#raw.addTrailers({ [costHeader]: costText(answer) });
    this.#endWith(endMark);
  }

  /** After a part of an answer: the error stands in the stream, and no mark says that the answer is whole. */
  fail(error: OpenAiError): void {
    this.#endWith(`data: ${JSON.stringify(error.body)}\n\n`);
  }

  #begin(source: { backend: string; model: string }, decision: Decision): void {
    this.#raw.writeHead(200, {
      ...(this.#reply.getHeaders() as Record<string, string>),
      ...routeHeaders(source, decision),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Reverse proxies such as nginx would otherwise gather the stream.
      'x-accel-buffering': 'no',
      ...(this.#hasTrailers && { trailer: costHeader }),
    });
    this.#reply.hijack();
  }

  /** HTTP/1.0 has no chunks to put them behind. */
  get #hasTrailers(): boolean {
    return this.#raw.useChunkedEncodingByDefault;
  }

  #endWith(text: string): void {
    this.#raw.setTimeout(this.#unreadMs);
    this.#raw.end(text);
  }

  #untilRead(): Promise<void> {
    const raw = this.#raw;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => () => {
        clearTimeout(timer);
        raw.off('drain', onDrain).off('close', onClose);
        act();
      };
      const onDrain = settle(resolve);
      const onClose = settle(() => reject(gone()));
      const timer = setTimeout(
        settle(() => {
          reject(new AppError('cancelled', 'The caller does not read its answer.'));
          // Its connection would be kept for an end of the stream that it does not read either.
          raw.destroy();
        }),
        this.#unreadMs,
      );
      raw.on('drain', onDrain).on('close', onClose);
    });
  }
}

function gone(): AppError {
  return new AppError('cancelled', 'The caller hung up.');
}
