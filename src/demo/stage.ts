import { setTimeout as delay } from 'node:timers/promises';
import type { Transcript } from './transcript.ts';

export type Result = Record<string, unknown>;

/** What a step has at hand: the client's side of a chat, and nothing of the server's insides. */
export interface Stage {
  /** Calls a tool as a chat would, and shows the call. */
  call(tool: string, input?: Result): Promise<{ result: Result; text: string }>;
  /** The same without showing it, for looking again and again. */
  look(tool: string): Promise<Result>;
  /** Turns a knob of the sandbox's control surface. */
  control(path: string, body: unknown): Promise<void>;
  /** Reads from it. */
  read(path: string): Promise<Result>;
  say: Transcript;
  /** What earlier steps leave for later ones. */
  notes: Map<string, string>;
}

export interface Step {
  title: string;
  /** Throws when what the step is about does not happen. */
  play(stage: Stage): Promise<void>;
}

/** Steps that one server plays. */
export interface Act {
  /** Undefined: the demo's title says it. */
  title?: string;
  /** Of the server's command line. */
  args: readonly string[];
  steps: readonly Step[];
}

const patienceMs = 40_000;

/** Looks every `everyMs` until it has happened. */
export async function until(what: string, happened: () => Promise<boolean>, everyMs = 1_000): Promise<void> {
  const endsAt = performance.now() + patienceMs;
  while (!(await happened())) {
    if (performance.now() > endsAt) throw new Error(`waited ${patienceMs / 1000} s for ${what}`);
    await delay(everyMs);
  }
}

export function expect(happened: boolean, what: string): void {
  if (!happened) throw new Error(`expected ${what}`);
}

/** The same call twice: the plan is shown, and the person says yes. Returns what came of it. */
export async function confirmed({ call, say }: Stage, tool: string, input: Result): Promise<Result> {
  const plan = await call(tool, input);
  say.answer(plan.text);
  expect(plan.result.status === 'confirm_required', 'a plan that waits for a yes');
  say.person('Yes.');
  const done = await call(tool, { ...input, confirm_token: plan.result.confirm_token });
  say.answer(done.text);
  return done.result;
}
