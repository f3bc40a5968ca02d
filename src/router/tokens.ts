import { estimateTokens } from './token-estimate.ts';
import type { Message } from './types.ts';

/** Chat templates wrap each message in a few tokens of their own. */
const tokensPerMessage = 5;

/** Estimates err by some 10 %; windows and reservations need the safe side. */
const safetyFactor = 1.15;

/** The text of a message, whatever its shape. */
export function textOf(message: Message): string {
  const { content } = message;
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return '';
  return content.map((part) => ('text' in part && typeof part.text === 'string' ? part.text : '')).join('\n');
}

/** Images and files count as so many tokens each: what a large image costs with most models. */
const tokensPerPart = 1_000;

function partsOf({ content }: Message): number {
  return Array.isArray(content) ? content.filter((part) => !('text' in part)).length : 0;
}

/** Estimated tokens of a prompt, on the high side. */
export function estimatePromptTokens(messages: readonly Message[], definitions = ''): number {
  const tokens = messages.reduce(
    (sum, message) => sum + estimateTokens(textOf(message)) + tokensPerMessage + partsOf(message) * tokensPerPart,
    definitions === '' ? 0 : estimateTokens(definitions),
  );
  return Math.ceil(tokens * safetyFactor);
}
