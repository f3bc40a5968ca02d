/**
 * What a sandbox model server can do to its caller. A model's name selects it (`echo`, `error-500`, ...), and the
 * control surface can put one over a whole server, whatever model is asked for.
 */
export interface Behaviour {
  /** Answers with this instead of a completion. */
  refusal?: { status: number; body: string; contentType?: string; retryAfterSeconds?: number };
  /** Silence before the first byte, in milliseconds; `Infinity`: for ever. */
  waitMs?: number;
  /** After how many pieces of text something happens, and what. */
  after?: { pieces: number; event: 'cut' | 'stall' | 'malformed' | 'error' };
  usage?: 'none' | 'negative' | 'zero' | 'text' | 'with_cost';
  /** Leaves out `finish_reason` / `[DONE]`. */
  omit?: ('finish' | 'done')[];
  /** A whole JSON answer although a stream was asked for. */
  whole?: boolean;
  /** Repeats the prompt instead of answering it. */
  echo?: boolean;
  finishReason?: string;
  /** Goes on for ever. */
  endless?: boolean;
  /** Hangs up before any answer. */
  hangUp?: boolean;
}

function openAiError(status: number, message: string, code: string | null = null): NonNullable<Behaviour['refusal']> {
  const type = status >= 500 ? 'server_error' : 'invalid_request_error';
  return { status, body: JSON.stringify({ error: { message: `${message} (sandbox)`, type, param: null, code } }) };
}

const html = (status: number, title: string): NonNullable<Behaviour['refusal']> => ({
  status,
  contentType: 'text/html',
  body: `<!DOCTYPE html><html><head><title>${title}</title></head><body><h1>${title}</h1>sandbox</body></html>`,
});

export const behaviours = {
  echo: { echo: true },
  slow: { waitMs: 3_000 },
  silent: { waitMs: Number.POSITIVE_INFINITY },
  'rate-limited': {
    refusal: { ...openAiError(429, 'Rate limit reached', 'rate_limit_exceeded'), retryAfterSeconds: 1 },
  },
  'rate-limited-silent': { refusal: openAiError(429, 'Rate limit reached', 'rate_limit_exceeded') },
  'out-of-credit': { refusal: openAiError(429, 'You exceeded your current quota', 'insufficient_quota') },
  'wrong-key': { refusal: openAiError(401, 'Incorrect API key provided', 'invalid_api_key') },
  'forbidden-html': { refusal: html(403, 'Access denied') },
  'error-500': { refusal: openAiError(500, 'The server had an error') },
  'error-502-html': { refusal: html(502, '502 Bad Gateway') },
  'error-503': { refusal: openAiError(503, 'Overloaded, please try again later') },
  'context-limit': {
    refusal: openAiError(400, "This model's maximum context length is 8192 tokens", 'context_length_exceeded'),
  },
  'content-filter': { refusal: openAiError(400, 'The prompt was flagged by the safety system', 'content_filter') },
  'bad-request': { refusal: openAiError(400, 'Unsupported parameter') },
  'no-such-model': { refusal: openAiError(404, 'The model does not exist', 'model_not_found') },
  'bad-json': { refusal: { status: 200, body: '{"choices": [{"mess' } },
  'hang-up': { hangUp: true },
  'cut-stream': { after: { pieces: 3, event: 'cut' } },
  stall: { after: { pieces: 3, event: 'stall' } },
  'bad-chunk': { after: { pieces: 3, event: 'malformed' } },
  'error-in-stream': { after: { pieces: 3, event: 'error' } },
  'no-usage': { usage: 'none' },
  'negative-usage': { usage: 'negative' },
  'zero-usage': { usage: 'zero' },
  'text-usage': { usage: 'text' },
  'reported-cost': { usage: 'with_cost' },
  'no-finish': { omit: ['finish', 'done'] },
  'no-done': { omit: ['done'] },
  'not-streaming': { whole: true },
  'length-limit': { finishReason: 'length' },
  endless: { endless: true },
} as const satisfies Record<string, Behaviour>;

export type BehaviourName = keyof typeof behaviours;

export function behaviourNamed(name: string): Behaviour | undefined {
  return name in behaviours ? behaviours[name as BehaviourName] : undefined;
}
