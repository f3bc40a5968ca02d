import { estimateTokenCount } from 'tokenx';
import { z } from 'zod';
import { sandboxAnswer } from './answers.ts';
import type { Behaviour } from './behaviours.ts';

/** How much one token costs the caller where a behaviour reports a cost itself, in dollars. */
const reportedUsdPerToken = 0.000001;

const common = {
  model: z.string(),
  stream: z.boolean().optional(),
  stream_options: z.looseObject({ include_usage: z.boolean().optional() }).nullish(),
  max_tokens: z.int().min(1).optional(),
};

/** What is asked for on either path: `messages` of a chat, or the `prompt` of a plain completion. */
export const callSchemas = {
  chat: z.looseObject({
    ...common,
    messages: z.array(z.looseObject({ role: z.string(), content: z.unknown() })).min(1),
  }),
  text: z.looseObject({ ...common, prompt: z.string() }),
};

export type CallShape = keyof typeof callSchemas;
export type Call = z.output<(typeof callSchemas)[CallShape]>;

export interface Answer {
  whole: unknown;
  pieces: string[];
  /** One event's JSON; null: the last one before usage. */
  chunk(piece: string | null): Record<string, unknown>;
  /** The first event of a chat; a plain completion has none. */
  opening: Record<string, unknown> | null;
  usage: unknown;
  /** As they are, whatever `usage` says. */
  promptTokens: number;
}

export function answerFor(call: Call, behaviour: Behaviour): Answer {
  const isChat = 'messages' in call;
  const texts = isChat
    ? (call as z.output<typeof callSchemas.chat>).messages.map(({ content }) => textOf(content))
    : [(call as z.output<typeof callSchemas.text>).prompt];
  const prompt = texts.at(-1) ?? '';
  const full = (behaviour.echo ? prompt : sandboxAnswer(prompt)).match(/\S+\s*|\s+/g) ?? [];
  const limit = call.max_tokens ?? Number.POSITIVE_INFINITY;
  const pieces = full.slice(0, limit);
  const finishReason = behaviour.finishReason ?? (full.length > limit ? 'length' : 'stop');
  const text = pieces.join('');
  const promptTokens = estimateTokenCount(texts.join('\n'));
  const usage = usageFor(behaviour, promptTokens, pieces.length);
  const head = {
    id: isChat ? 'chatcmpl-sandbox' : 'cmpl-sandbox',
    created: 0,
    model: call.model,
    system_fingerprint: 'sandbox',
  };
  const choice = (said: object, reason: string | null) => [
    { index: 0, ...said, finish_reason: reason, logprobs: null },
  ];
  const chunkOf = (said: object, reason: string | null) => ({
    ...head,
    object: isChat ? 'chat.completion.chunk' : 'text_completion',
    choices: choice(said, reason),
  });
  return {
    whole: {
      ...head,
      object: isChat ? 'chat.completion' : 'text_completion',
      choices: choice(isChat ? { message: { role: 'assistant', content: text } } : { text }, finishReason),
      ...(usage !== undefined && { usage }),
    },
    pieces,
    chunk(piece) {
      if (piece === null) return chunkOf(isChat ? { delta: {} } : { text: '' }, finishReason);
      return chunkOf(isChat ? { delta: { content: piece } } : { text: piece }, null);
    },
    opening: isChat ? chunkOf({ delta: { role: 'assistant', content: '' } }, null) : null,
    usage: call.stream_options?.include_usage || !call.stream ? usage : undefined,
    promptTokens,
  };
}

function usageFor({ usage }: Behaviour, promptTokens: number, completionTokens: number): unknown {
  const truth = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
  switch (usage) {
    case 'none':
      return undefined;
    case 'negative':
      return { ...truth, prompt_tokens: -5 };
    case 'zero':
      return { prompt_tokens: promptTokens, completion_tokens: 0, total_tokens: promptTokens };
    case 'text':
      return { prompt_tokens: 'many', completion_tokens: 'some' };
    case 'with_cost':
      return { ...truth, cost: truth.total_tokens * reportedUsdPerToken };
    default:
      return truth;
  }
}

function textOf(content: unknown): string {
  return typeof content === 'string' ? content : JSON.stringify(content ?? '');
}
