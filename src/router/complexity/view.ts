import { textOf } from '../tokens.ts';
import type { Message } from '../types.ts';
import { maxScanned } from './scan.ts';

/** What is read of a prompt. */
export interface View {
  /** System prompt and the last turn of the user, at most `maxScanned` characters. */
  text: string;
  /** Length of the system prompt and the last turn, also of what is not read. */
  characters: number;
  /** Turns of the user. */
  turns: number;
}

const mostOfSystem = 2_000;

/**
 * The last turn is the task and is read first of all; the system prompt may carry the difficulty and gets up to a
 * quarter of the room. Of long texts head and tail are kept: tasks stand at the start or at the end.
 */
export function viewOf(messages: readonly Message[]): View {
  let user = '';
  let system = '';
  let turns = 0;
  for (const message of messages) {
    if (message.role === 'user') {
      const text = textOf(message);
      if (text !== '') user = text;
      turns += 1;
    } else if (message.role === 'system' || message.role === 'developer') system += `${textOf(message)}\n`;
  }
  const head = headAndTail(system, mostOfSystem);
  const text = head + headAndTail(user, maxScanned - head.length);
  return {
    text: hasWide(text) ? text.normalize('NFKC').slice(0, maxScanned) : text,
    characters: system.length + user.length,
    turns,
  };
}

function headAndTail(text: string, most: number): string {
  if (text.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${text.slice(0, half)}\n${text.slice(-half)}`;
}

/** Full-width and mathematical letters, the dress in which plain words hide. */
function hasWide(text: string): boolean {
  return /[\u00a0\u2100-\u214f\uff01-\uff5e\ud835]/.test(text);
}
