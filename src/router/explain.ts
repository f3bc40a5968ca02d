import { priorities } from '../config/schema.ts';
import { sufficesAt } from './complexity/prior.ts';
import { route, type Sized } from './route.ts';
import { candidateName, type Decision, type Snapshot } from './types.ts';

const scoreStep = 0.05;

/** In words, what would lead to another choice: another priority, or a harder or easier prompt. */
export function wouldChange(sized: Sized, snapshot: Snapshot, decision: Decision): string[] {
  const current = choiceOf(decision);
  const changes: string[] = [];
  for (const priority of priorities) {
    if (priority === sized.request.priority) continue;
    const choice = choiceOf(route({ ...sized, request: { ...sized.request, priority } }, snapshot));
    if (choice !== current && choice) changes.push(`priority ${priority} -> ${choice}`);
  }
  const { score } = sized.complexity;
  for (const direction of [1, -1]) {
    for (
      let other = nextStep(score, direction);
      other >= 0 && other <= 1;
      other = round(other + direction * scoreStep)
    ) {
      const choice = choiceOf(
        route({ ...sized, complexity: { score: other, suffices: sufficesAt(other), features: [] } }, snapshot),
      );
      if (choice === current || !choice) continue;
      changes.push(`score ${direction > 0 ? 'from' : 'down to'} ${other.toFixed(2)} -> ${choice}`);
      break;
    }
  }
  return changes;
}

function choiceOf(decision: Decision): string | null {
  const chosen = decision.candidates[0];
  return chosen?.verdict === 'chosen' ? candidateName(chosen) : null;
}

function nextStep(score: number, direction: number): number {
  const steps = direction > 0 ? Math.floor(score / scoreStep) + 1 : Math.ceil(score / scoreStep) - 1;
  return round(steps * scoreStep);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
