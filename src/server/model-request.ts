import type { Priority } from '../config/schema.ts';
import { AppError } from '../errors.ts';
import type { Principal } from '../principal.ts';
import { JsonText } from '../router/json-text.ts';
import { estimateTokens } from '../router/token-estimate.ts';
import type { Begun, Candidate, Message, ModelRequest, Operation } from '../router/types.ts';
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
  const streamOptions = JSON.stringify({ ...options, include_usage: true });
  const limit = limitField(fields);
  const { backend, model, priority } = parseModelName(requireModel(fields));
  const request: ModelRequest = {
    id: call.id,
    operation: call.operation,
    principal: call.principal,
    messages: messagesOf(call.operation, fields),
    definitions: definitionsOf(json),
    priority: priority ?? call.defaultPriority,
    backend,
    model,
    maxTokens: call.operation === 'embeddings' ? 0 : limit && wholeNumber(fields, limit, 1),
    choices: choicesOf(call.operation, fields),
    stream,
    timeLimitMs: call.timeLimitMs,
    acceptsPart: false,
    bodyFor: (candidate, begun) =>
      json.with({
        model: JSON.stringify(candidate.model),
        ...(stream && { stream_options: streamOptions }),
        ...(begun && continuing(json, candidate, begun, limit)),
      }),
  };
  return { request, wantsUsage: options.include_usage === true };
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

function requireModel({ model }: JsonText['fields']): string {
  if (typeof model === 'string' && model !== '') return model;
  throw new AppError('invalid_input', 'The field "model" is missing.', {
    next: `Give ${routedNames[0]}, a model id or "backend/model"; GET /v1/models lists them.`,
  });
}

function limitField(fields: JsonText['fields']): 'max_completion_tokens' | 'max_tokens' | undefined {
  if (fields.max_completion_tokens != null) return 'max_completion_tokens';
  return fields.max_tokens == null ? undefined : 'max_tokens';
}

function wholeNumber(fields: JsonText['fields'], name: string, least: number, most = 10_000_000): number {
  const value = fields[name];
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new AppError('invalid_input', `The field "${name}" must be a whole number from ${least} to ${most}.`);
}

/** How many answers will come: `n` to each prompt, and plain completions may have several prompts. */
function choicesOf(operation: Operation, fields: JsonText['fields']): number {
  const each = fields.n == null ? 1 : wholeNumber(fields, 'n', 1, 128);
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
    messages.every((message) => isRecord(message) && typeof message.role === 'string');
  if (wellFormed) return messages as Message[];
  throw new AppError('invalid_input', 'The field "messages" must be a list of {role, content}, not empty.');
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

const definitionFields = ['tools', 'functions', 'response_format'];

function definitionsOf(json: JsonText): string | undefined {
  const texts = definitionFields.filter((name) => json.fields[name] != null).map((name) => json.rawOf(name) ?? '');
  return texts.length > 0 ? texts.join('\n') : undefined;
}

/** The fields that make a server go on with a text: the text as the assistant's last message, and less room for more. */
function continuing(
  json: JsonText,
  { maxTokens }: Candidate,
  { text, prefill }: Begun,
  limit: string | undefined,
): Record<string, string> {
  const messages = (json.rawOf('messages') ?? '[]').trimEnd();
  const message = JSON.stringify({ role: 'assistant', content: text });
  return {
    messages: `${messages.slice(0, -1)},${message}]`,
    ...(limit && { [limit]: String(Math.max(1, maxTokens - estimateTokens(text))) }),
    ...(prefill === 'vllm' && { continue_final_message: 'true', add_generation_prompt: 'false' }),
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
