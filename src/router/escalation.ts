import { type Cancellation, throwIfCancelled } from '../cancellation.ts';
import { AppError } from '../errors.ts';
import type { AttemptReport, AttemptResult } from './attempt.ts';
import { judge, type Verdict } from './cascade.ts';
import type { Kind } from './complexity/answer/question.ts';
import { type AnswerCheck, checkAnswer, kindOfPrompt } from './complexity/answer.ts';
import { textOf } from './tokens.ts';
import { type Candidate, candidateName, type Decision, type ModelRequest } from './types.ts';

/**
 * Whether an answer to this request may be checked and given again by a stronger model. One text that comes whole from
 * a model that the router picked itself. What `definitions` ask for (tools, a response format) is not in the prompt, so
 * no check of the answer's words can tell whether it is right; nor what images show.
 */
export function mayCascade(request: ModelRequest): boolean {
  const { operation, choices, model, priority, definitions, messages } = request;
  return (
    operation === 'chat' &&
    choices === 1 &&
    model === undefined &&
    priority !== 'latency_critical' &&
    definitions === undefined &&
    messages.every(({ content }) => !Array.isArray(content) || content.every((part) => part.type === 'text'))
  );
}

/** What is asked, the last turn of the user, and whether that is all there is. */
function questionIn({ messages }: Pick<ModelRequest, 'messages'>): { question: string; isAlone: boolean } {
  const turns = messages.filter(({ role }) => role === 'user' || role === 'assistant');
  const last = turns.findLast((message) => message.role === 'user' && textOf(message) !== '');
  return { question: last ? textOf(last) : '', isAlone: turns.length === 1 };
}

/** What the check will know of answers to it. Of a conversation it reads one turn, which says too little of content. */
export function kindAsked(request: ModelRequest): Kind {
  const { question, isAlone } = questionIn(request);
  return isAlone ? kindOfPrompt(question) : 'open';
}

function checkOf(request: ModelRequest, answer: string): AnswerCheck {
  const { question, isAlone } = questionIn(request);
  const check = checkAnswer(question, answer);
  return isAlone ? check : { ...check, basis: 'prior' };
}

/** How a checked answer went on. */
export interface CascadeOutcome {
  verdict: Verdict;
  /** Why the first answer is the one that is given although a stronger model was asked; null: it is not, or none was. */
  kept: string | null;
}

/** The one check of one request: of its first answer, before the row of that is closed. */
export class Escalation {
  #verdict: Verdict | null = null;
  #kept: string | null = null;
  readonly #request: ModelRequest;
  readonly #decision: Decision;
  readonly #failed: readonly AttemptReport[];
  readonly #leftMs: () => number;

  /** `failed`: the attempts so far; their backends are not asked again. */
  constructor(request: ModelRequest, decision: Decision, failed: readonly AttemptReport[], leftMs: () => number) {
    this.#request = request;
    this.#decision = decision;
    this.#failed = failed;
    this.#leftMs = leftMs;
  }

  /** Checks the answer of `answered`. Returns whether another model is to be asked. */
  check(answered: Candidate, { text, finishReason }: { text: string; finishReason: string | null }): boolean {
    if (finishReason !== 'stop' || answered.tier === 'large') return false;
    this.#verdict = judge({
      answered,
      check: checkOf(this.#request, text),
      others: this.#decision.candidates.filter(({ backend }) => !this.#failed.some((each) => each.backend === backend)),
      priority: this.#request.priority,
      quality: this.#decision.quality,
      leftMs: this.#leftMs(),
    });
    return this.#verdict.next !== null;
  }

  /** Asks the stronger model where the check wants it. Null: the first answer is the one to give. */
  async askNext(
    signal: Cancellation,
    ask: (next: Candidate, leftMs: number) => Promise<AttemptResult>,
  ): Promise<AttemptResult | null> {
    const next = this.#verdict?.next;
    if (!next) return null;
    try {
      const second = await ask(next, this.#leftMs());
      if (second.report.error) throwIfCancelled(signal);
      this.#kept = reasonToKeep(second);
      return this.#kept === null ? second : null;
    } catch (error) {
      if (!(error instanceof AppError) || signal.aborted) throw error;
      this.#kept = error.message;
      return null;
    }
  }

  /** Null: nothing was checked. */
  get outcome(): CascadeOutcome | null {
    return this.#verdict && { verdict: this.#verdict, kept: this.#kept };
  }
}

/** An answer that is there and whole is better than none, or half of one. Null: the second one is good. */
function reasonToKeep({ report, text, finishReason }: AttemptResult): string | null {
  const name = candidateName(report);
  if (report.error) return `${name} ${report.sent ? 'failed' : 'was not asked'} (${report.error.message})`;
  if (finishReason !== 'stop') return `the answer of ${name} is not whole (finish_reason ${finishReason})`;
  return text === '' ? `${name} answered without a text` : null;
}

/** What a person can read of it: what the check thought, who was asked, and what came of that. */
export function sayCascade({ verdict, kept }: CascadeOutcome, answered: string): string {
  const { right, sign, next } = verdict;
  const found = sign === null ? 'found nothing against it' : `found ${sign}`;
  const asked = next ? `, ${candidateName(next)} was asked` : '';
  const end = kept === null ? '' : `; the first answer is kept: ${kept}`;
  return `${answered} answered, the check ${found} (right ${right.toFixed(2)})${asked}${end}.`;
}
