import { type Dispatcher, request } from 'undici';
import { abortReason } from '../../cancellation.ts';
import { toNetworkError, userAgent } from '../../http.ts';

/** A model server, as it is reached from here. */
export interface ServerBase {
  /** Without `/v1` and without a slash at its end. */
  baseUrl: string;
  apiKey: string | null;
  dispatcher: Dispatcher;
}

export interface Question {
  path: string;
  /** Sent as JSON with POST; without it the path is read with GET. */
  body?: unknown;
  timeoutMs: number;
}

/** `problem`: no whole answer came, and why. */
export type Reply = { status: number; text: string; problem: null } | { problem: string };

/** Metrics of a busy server have tens of kilobytes. */
const longestAnswerBytes = 8_000_000;

/** Asks once. Whatever the server does is in the reply; rejects only when the caller gives up. */
export async function ask(base: ServerBase, question: Question, signal: AbortSignal): Promise<Reply> {
  const limit = AbortSignal.timeout(question.timeoutMs);
  try {
    const { statusCode, body } = await request(base.baseUrl + question.path, {
      method: question.body === undefined ? 'GET' : 'POST',
      dispatcher: base.dispatcher,
      signal: AbortSignal.any([signal, limit]),
      headers: {
        'user-agent': userAgent,
        ...(base.apiKey !== null && { authorization: `Bearer ${base.apiKey}` }),
        ...(question.body !== undefined && { 'content-type': 'application/json' }),
      },
      body: question.body === undefined ? null : JSON.stringify(question.body),
    });
    const text = await readText(body);
    if (text === null) return { problem: `${question.path} answered with more than ${longestAnswerBytes} bytes` };
    return { status: statusCode, text, problem: null };
  } catch (error) {
    if (signal.aborted) throw abortReason(signal);
    if (limit.aborted) return { problem: `${question.path} did not answer within ${question.timeoutMs / 1000} s` };
    return { problem: toNetworkError(error, 'The model server').message.replace(/\.$/, '') };
  }
}

/** Null when it is too long. */
async function readText(body: Dispatcher.ResponseData['body']): Promise<string | null> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.length;
    if (bytes > longestAnswerBytes) return null;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
