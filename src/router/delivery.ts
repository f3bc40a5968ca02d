import { AppError } from '../errors.ts';
import { textEvent } from './backends/chunk.ts';
import {
  type Begun,
  type Candidate,
  candidateName,
  type Decision,
  type ModelRequest,
  type Piece,
  type Sink,
} from './types.ts';

/** Takes what the caller gets, from whom, and why from there. */
export type Receiver = (piece: Piece, candidate: Candidate, decision: Decision) => Promise<void> | undefined;

/**
 * What the caller of a stream has received, over all attempts. Nothing is passed on before the first token, so that
 * an attempt which fails until then can be replaced without a trace. After it, another attempt either continues the
 * text or says the same again, of which only what is new is passed on.
 */
export class Delivery {
  /** Something was passed on. */
  started = false;
  readonly #request: ModelRequest;
  readonly #receiver: Receiver;
  readonly #decision: Decision;
  #text = '';
  /** Other than plain text was passed on: there is no way to go on with that. */
  #hasOther = false;

  constructor(request: ModelRequest, decision: Decision, receiver: Receiver) {
    this.#request = request;
    this.#decision = decision;
    this.#receiver = receiver;
  }

  /** Whether what has begun can be finished by another attempt. */
  get isResumable(): boolean {
    return !this.#hasOther && this.#request.operation === 'chat' && this.#request.choices === 1;
  }

  /** What a candidate should continue; null: it has to begin at the beginning. */
  begunFor(prefill: Begun['prefill'] | null): Begun | null {
    return this.started && prefill !== null && this.#text !== '' ? { text: this.#text, prefill } : null;
  }

  /** For one attempt of this candidate. */
  sinkFor(candidate: Candidate, begun: Begun | null): Sink {
    if (!this.started) return this.#holdUntilToken(candidate);
    return begun ? this.#continue(candidate) : this.#passNewOnly(candidate);
  }

  #pass(piece: Piece, candidate: Candidate): Promise<void> | undefined {
    this.started = true;
    this.#text += piece.text;
    this.#hasOther ||= piece.otherText !== '';
    return this.#receiver(piece, candidate, this.#decision);
  }

  #holdUntilToken(candidate: Candidate): Sink {
    const held: Buffer[] = [];
    return (piece) => {
      if (this.started) return this.#pass(piece, candidate);
      held.push(piece.bytes);
      if (isEmpty(piece) && piece.finishReason === null) return undefined;
      return this.#pass(held.length > 1 ? { ...piece, bytes: Buffer.concat(held) } : piece, candidate);
    };
  }

  /** The role, which comes before the first token, was passed on already. */
  #continue(candidate: Candidate): Sink {
    let begun = false;
    return (piece) => {
      begun ||= !isEmpty(piece) || piece.finishReason !== null;
      return begun ? this.#pass(piece, candidate) : undefined;
    };
  }

  #passNewOnly(candidate: Candidate): Sink {
    const known = this.#text;
    let again = '';
    return (piece) => {
      if (again.length >= known.length && again !== '') return this.#pass(piece, candidate);
      again += piece.text;
      if (piece.otherText !== '' || !(known.startsWith(again) || again.startsWith(known))) throw differs(candidate);
      const text = again.slice(known.length);
      if (text === '' && piece.finishReason === null) return undefined;
      if (again.length < known.length) throw differs(candidate);
      return this.#pass({ ...piece, text, bytes: textEvent(candidate, text, piece.finishReason) }, candidate);
    };
  }
}

function isEmpty(piece: Piece): boolean {
  return piece.text === '' && piece.otherText === '';
}

function differs(candidate: Candidate): AppError {
  return new AppError('answer_differs', `${candidateName(candidate)} gave another answer than the one that had begun.`);
}
