import { AppError } from '../../errors.ts';
import type { Operation, ReportedUsage } from '../types.ts';
import { errorFromChunk, readUsage } from './wire.ts';

/** What one JSON object of an answer says: a chunk of a stream, or a whole answer. */
export interface Chunk {
  text: string;
  otherText: string;
  finishReason: string | null;
  /** Which of the choices it ends. */
  finished: readonly number[];
  usage: ReportedUsage | null;
  /** It carries usage and nothing else. */
  onlyUsage: boolean;
}

/**
 * Reads one chunk. By hand and not by schema: this runs for every token of every stream. Throws `upstream_invalid`
 * for what is not a chunk, and the provider's own error when the chunk is one.
 */
export function readChunk(who: string, json: unknown): Chunk {
  if (!isRecord(json) || (json.choices != null && !Array.isArray(json.choices))) throw notCompletion(who);
  if (json.error) throw errorFromChunk(who, json.error);
  const chunk: Chunk = {
    text: '',
    otherText: '',
    finishReason: null,
    finished: none,
    usage: json.usage == null ? null : readUsage(json.usage),
    onlyUsage: false,
  };
  const choices: unknown[] = json.choices ?? [];
  for (const choice of choices) addChoice(chunk, choice);
  chunk.onlyUsage = choices.length === 0 && chunk.usage !== null;
  return chunk;
}

const none: readonly number[] = [];

/** Reads a whole answer. Throws as `readChunk` does, and also where there is nothing in it. */
export function readWhole(who: string, operation: Operation, json: unknown): Chunk {
  const chunk = readChunk(who, json);
  const list = (json as Record<string, unknown>)[operation === 'embeddings' ? 'data' : 'choices'];
  if (!Array.isArray(list) || list.length === 0 || !list.every(isRecord)) throw notCompletion(who);
  return chunk;
}

/** A whole answer as the events of a stream: some servers ignore `stream: true`. */
export function eventsOf(json: unknown): { bytes: Buffer; usageBytes: Buffer | null } {
  const { choices, usage, object, ...head } = json as Record<string, unknown> & { choices: unknown[] };
  const asDelta = (choice: unknown) => {
    if (!isRecord(choice) || !isRecord(choice.message)) return choice;
    const { message, ...rest } = choice;
    return { ...rest, delta: message };
  };
  const name = object === 'chat.completion' ? 'chat.completion.chunk' : object;
  const event = (fields: object) => Buffer.from(`data: ${JSON.stringify({ ...head, object: name, ...fields })}\n\n`);
  return {
    bytes: event({ choices: choices.map(asDelta) }),
    usageBytes: usage == null ? null : event({ choices: [], usage }),
  };
}

/** An event that carries only this text: the rest of one of which the caller had the beginning. */
export function textEvent(data: { model: string }, text: string, finishReason: string | null): Buffer {
  const chunk = {
    id: 'chatcmpl-resumed',
    object: 'chat.completion.chunk',
    created: 0,
    model: data.model,
    choices: [{ index: 0, delta: { content: text }, finish_reason: finishReason }],
  };
  return Buffer.from(`data: ${JSON.stringify(chunk)}\n\n`);
}

function addChoice(chunk: Chunk, choice: unknown): void {
  if (!isRecord(choice)) return;
  const first = choice.index === undefined || choice.index === 0;
  addText(chunk, choice.text, first);
  const said = choice.delta ?? choice.message;
  if (isRecord(said)) {
    for (const key in said) if (key !== 'role') addText(chunk, said[key], first && key === 'content');
  }
  if (typeof choice.finish_reason === 'string' && choice.finish_reason !== '') {
    chunk.finished = [...chunk.finished, typeof choice.index === 'number' ? choice.index : 0];
    chunk.finishReason ??= word(choice.finish_reason);
  }
}

function addText(chunk: Chunk, value: unknown, isAnswer: boolean): void {
  if (value == null) return;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  if (isAnswer) chunk.text += text;
  else chunk.otherText += text;
}

/** A word of the protocol, or `other`: it goes into the ledger, which takes no free text. */
function word(reason: string): string {
  return /^[a-z_]{1,32}$/.test(reason) ? reason : 'other';
}

function notCompletion(who: string): AppError {
  return new AppError('upstream_invalid', `${who} sent something that is not an answer of this kind.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
