import { type Capability, capabilities, type Priority } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import type { Principal } from '../principal.ts';
import { JsonText } from '../router/json-text.ts';
import { estimateTokens } from '../router/token-estimate.ts';
import {
  type Begun,
  type Candidate,
  type Message,
  type ModelRequest,
  needsNothing,
  type Operation,
} from '../router/types.ts';
import { parseModelName, routedNames } from './model-name.ts';

export interface GatewayRequest {
  request: ModelRequest;
  /** Whether the caller asked for the chunk with usage. */
  wantsUsage: boolean;
}

export interface GatewayCall {
  id: string;
  operation: Operation;
  /** The body, as it came. */
  text: string;
  principal: Principal;
  defaultPriority: Priority;
  defaultQuality: number | undefined;
  timeLimitMs: number;
}

/**
 * Reads what routing needs from a request of the OpenAI API, and leaves the rest of it as it is: unknown fields go to
 * the provider byte for byte. Throws `invalid_input`.
 */
export function readGatewayRequest(call: GatewayCall): GatewayRequest {
  const json = parse(call.text);
  const { fields } = json;
  const stream = flag(fields, 'stream') && call.operation !== 'embeddings';
  const options = isRecord(fields.stream_options) ? fields.stream_options : {};
  const streamOptions = stream ? withUsage(json) : '';
  const { backend, model, priority, quality } = parseModelName(requireModel(fields));
  const messages = messagesOf(call.operation, fields);
  const request: ModelRequest = {
    id: call.id,
    operation: call.operation,
    principal: call.principal,
    messages,
    needs: call.operation === 'chat' ? needsOf(fields, messages) : needsNothing,
    definitions: definitionsOf(json),
    priority: priority ?? call.defaultPriority,
    quality: quality ?? (priority === undefined ? call.defaultQuality : undefined),
    backend,
    model,
    maxTokens: call.operation === 'embeddings' ? 0 : maxTokensOf(fields),
    choices: choicesOf(call.operation, fields),
    stream,
    timeLimitMs: call.timeLimitMs,
    acceptsPart: false,
    bodyFor: (candidate, begun) =>
      json.with({
        model: JSON.stringify(candidate.model),
        ...(stream && { stream_options: streamOptions }),
        ...(begun && continuing(json, candidate, begun)),
      }),
  };
  return { request, wantsUsage: options.include_usage === true };
}

/** The caller's own options as they stand, for what is written again may be too deep for that; and usage is asked for. */
function withUsage(json: JsonText): string {
  const own = isRecord(json.fields.stream_options) ? json.rawOf('stream_options') : undefined;
  return new JsonText(own ?? '{}').with({ include_usage: 'true' });
}

function parse(text: string): JsonText {
  try {
    return new JsonText(text);
  } catch {
    throw new AppError('invalid_input', 'The body is not a JSON object.', {
      next: 'Send JSON, with content-type application/json.',
    });
  }
}

const longestModelName = 500;

function requireModel({ model }: JsonText['fields']): string {
  // Errors repeat it.
  if (typeof model === 'string' && model.length > longestModelName)
    throw new AppError('invalid_input', `The field "model" is longer than ${longestModelName} characters.`);
  if (typeof model === 'string' && model !== '') return model;
  throw new AppError('invalid_input', 'The field "model" is missing.', {
    next: `Give ${routedNames[0]}, a model id or "backend/model"; GET /v1/models lists them.`,
  });
}

const limitFields = ['max_completion_tokens', 'max_tokens'] as const;

/** Those that are given: some servers know only one of them, and which one this will be is not known yet. */
function limitsIn(fields: JsonText['fields']): readonly (typeof limitFields)[number][] {
  return limitFields.filter((name) => fields[name] != null);
}

/** The most that an answer can be long. */
function maxTokensOf(fields: JsonText['fields']): number | undefined {
  const limits = limitsIn(fields).map((name) => wholeNumber(fields, name, 1));
  return limits.length > 0 ? Math.max(...limits) : undefined;
}

function wholeNumber(fields: JsonText['fields'], name: string, least: number, most = 10_000_000): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new AppError('invalid_input', `The field "${name}" must be a whole number from ${least} to ${most}.`);
}

/** How many answers are paid for: `n` to each prompt, or `best_of`; plain completions may have several prompts. */
function choicesOf(operation: Operation, fields: JsonText['fields']): number {
  const n = fields.n == null ? 1 : wholeNumber(fields, 'n', 1, 128);
  const bestOf = operation !== 'completions' || fields.best_of == null ? n : wholeNumber(fields, 'best_of', 1, 128);
  if (bestOf > n && fields.stream === true)
    throw new AppError('invalid_input', 'The best of several answers ("best_of") cannot be streamed.');
  const each = Math.max(n, bestOf);
  const { prompt } = fields;
  const isList = operation === 'completions' && Array.isArray(prompt) && typeof prompt[0] !== 'number';
  return isList ? each * prompt.length : each;
}

function flag(fields: JsonText['fields'], name: string): boolean {
  const value = fields[name] ?? false;
  if (typeof value === 'boolean') return value;
  throw new AppError('invalid_input', `The field "${name}" must be true or false.`);
}

function messagesOf(operation: Operation, fields: JsonText['fields']): Message[] {
  if (operation === 'completions') return [{ role: 'user', content: plainText('prompt', fields.prompt) }];
  if (operation === 'embeddings') return [{ role: 'user', content: plainText('input', fields.input) }];
  const { messages } = fields;
  const wellFormed =
    Array.isArray(messages) &&
    messages.length > 0 &&
    messages.every((message) => isRecord(message) && typeof message.role === 'string' && isContent(message.content));
  if (wellFormed) return messages as Message[];
  throw new AppError('invalid_input', 'The field "messages" must be a list of {role, content}, not empty.', {
    next: 'Content is a text, or a list of parts such as {"type": "text", "text": "..."}.',
  });
}

/** A text, or a list of objects. What else it is, such as nothing beside tool calls, is left to the provider. */
function isContent(content: unknown): boolean {
  return !Array.isArray(content) || content.every(isRecord);
}

/** A list of lists of tokens is the deepest there is. */
const deepestPrompt = 2;

/** Texts as they are; of tokens there is nothing to read, but as many characters as make about as many tokens. */
function plainText(name: string, value: unknown, depth = 0): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number' && depth > 0) return 'a ';
  if (Array.isArray(value) && value.length > 0 && depth < deepestPrompt)
    return value.map((part) => plainText(name, part, depth + 1)).join('');
  throw new AppError('invalid_input', `The field "${name}" must be a text, or a list of texts or tokens.`);
}

/** What a model has to take besides text, as far as the request says it plainly. */
function needsOf({ tools, functions, response_format: format }: JsonText['fields'], messages: readonly Message[]) {
  const hasTools = isFilled(tools) || isFilled(functions);
  const hasSchema = isRecord(format) && format.type === 'json_schema';
  const hasImages = messages.some(hasImage);
  if (!hasTools && !hasSchema && !hasImages) return needsNothing;
  const needed: Record<Capability, boolean> = { tools: hasTools, json_schema: hasSchema, images: hasImages };
  return capabilities.filter((capability) => needed[capability]);
}

function isFilled(list: unknown): boolean {
  return Array.isArray(list) && list.length > 0;
}

function hasImage({ content }: Message): boolean {
  return Array.isArray(content) && (content as readonly { type?: unknown }[]).some(isImage);
}

/** `input_image` is what OpenAI's newer API calls it; some servers take it here too. */
function isImage({ type }: { type?: unknown }): boolean {
  return type === 'image_url' || type === 'input_image';
}

const definitionFields = ['tools', 'functions', 'response_format'];

function definitionsOf(json: JsonText): string | undefined {
  const texts = definitionFields.filter((name) => json.fields[name] != null).map((name) => json.rawOf(name) ?? '');
  return texts.length > 0 ? texts.join('\n') : undefined;
}

/** The fields that make a server go on with a text: the text as the assistant's last message, and less room for more. */
function continuing(json: JsonText, { maxTokens }: Candidate, { text, prefill }: Begun): Record<string, string> {
  const messages = (json.rawOf('messages') ?? '[]').trimEnd();
  const message = JSON.stringify({ role: 'assistant', content: text });
  const left = String(Math.max(1, maxTokens - estimateTokens(text)));
  return {
    messages: `${messages.slice(0, -1)},${message}]`,
    ...Object.fromEntries(limitsIn(json.fields).map((name) => [name, left])),
    ...(prefill === 'vllm' && { continue_final_message: 'true', add_generation_prompt: 'false' }),
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
