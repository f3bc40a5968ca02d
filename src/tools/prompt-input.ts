import { z } from 'zod';
import { priorities } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import type { ChatRequest, Message } from '../router/types.ts';
import type { ToolContext } from './tool.ts';

/** The arguments that `complete` and `route_explain` share. */
export const promptInput = {
  prompt: z.string().optional().describe('User prompt; or give messages'),
  messages: z.array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })).optional(),
  system: z.string().optional(),
  priority: z.enum(priorities).optional(),
  backend: z.string().optional().describe('auto, serverless, dedicated or a backend id'),
  model: z.string().optional().describe('id or backend/id'),
  max_tokens: z.int().min(1).max(1_000_000).optional(),
  temperature: z.number().min(0).max(2).optional(),
  response_format: z.enum(['concise', 'detailed']).optional(),
};

const schema = z.strictObject(promptInput);

export function toChatRequest(input: z.output<typeof schema>, context: ToolContext): ChatRequest {
  return {
    messages: messagesOf(input),
    priority: input.priority ?? context.defaultPriority,
    backend: input.backend ?? 'auto',
    model: input.model,
    maxTokens: input.max_tokens,
    temperature: input.temperature,
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
