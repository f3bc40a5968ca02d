import { z } from 'zod';
import { priorities } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import { type Message, type ModelRequest, needsNothing } from '../router/types.ts';
import { newRequestId } from '../usage/request-id.ts';
import type { ToolContext } from './tool.ts';

/** The arguments that `complete` and `route_explain` share. */
export const promptInput = {
  prompt: z.string().optional().describe('User prompt; or give messages'),
  messages: z.array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })).optional(),
  system: z.string().optional(),
  priority: z.enum(priorities).optional(),
  quality: z.number().min(0.5).max(1).optional().describe('instead of priority: share of the best quality'),
  backend: z.string().optional().describe('auto, serverless, dedicated or a backend id'),
  model: z.string().optional().describe('id or backend/id'),
  max_tokens: z.int().min(1).max(1_000_000).optional(),
  temperature: z.number().min(0).max(2).optional(),
  response_format: z.enum(['concise', 'detailed']).optional(),
};

const schema = z.strictObject(promptInput);

/** MCP clients hang up after some 60 s: what cannot be answered within this is given up, or cut where it stands. */
const longestCallMs = 43_000;

export function toModelRequest(input: z.output<typeof schema>, context: ToolContext): ModelRequest {
  const messages = messagesOf(input);
  if (input.quality !== undefined && input.priority !== undefined) {
    throw new AppError('invalid_input', 'Both quality and priority are given.', {
      next: 'Give either: a quality takes the place of a priority.',
    });
  }
  return {
    id: newRequestId(),
    operation: 'chat',
    principal: context.principal,
    messages,
    needs: needsNothing,
    priority: input.priority ?? context.defaultPriority,
    quality: input.quality ?? (input.priority === undefined ? context.defaultQuality : undefined),
    backend: input.backend ?? 'auto',
    model: input.model,
    maxTokens: input.max_tokens,
    choices: 1,
    // Streams inside, so that a silent model is noticed early and what has arrived in time is not lost.
    stream: true,
    timeLimitMs: longestCallMs,
    acceptsPart: true,
    bodyFor: ({ model, maxTokens }) =>
      JSON.stringify({
        model,
        messages,
        max_tokens: maxTokens,
        ...(input.temperature !== undefined && { temperature: input.temperature }),
        stream: true,
        stream_options: { include_usage: true },
      }),
  };
}

function messagesOf({ prompt, messages, system }: z.output<typeof schema>): Message[] {
  if ((prompt === undefined) === (messages === undefined)) {
    throw new AppError(
      'invalid_input',
      prompt === undefined ? 'There is no prompt.' : 'Both prompt and messages are given.',
      {
        next: 'Give either prompt (a text) or messages (a list of {role, content}).',
      },
    );
  }
  const turns: Message[] = messages ?? [{ role: 'user', content: prompt ?? '' }];
  if (!turns.some((turn) => turn.role === 'user' && typeof turn.content === 'string' && turn.content.trim() !== '')) {
    throw new AppError('invalid_input', 'The prompt is empty.', {
      next: 'Give the text that the model should answer.',
    });
  }
  return system === undefined ? turns : [{ role: 'system', content: system }, ...turns];
}
