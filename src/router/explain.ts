import { priorities } from '../config/schema.ts';
import { formatUsd } from '../money.ts';
import { atScore } from './complexity/scorer.ts';
import { neededRequests } from './goals.ts';
import { sayPending } from './pending.ts';
import { complexFromScore, route, type Sized } from './route.ts';
import {
  type Candidate,
  type CascadePlan,
  candidateName,
  type Decision,
  type Pending,
  type QualityGoal,
  type Snapshot,
} from './types.ts';

const scoreStep = 0.05;

/** Why the first candidate is the first, in a sentence. */
export function whyOf(decision: Decision): string {
  const {
    asked,
    complexity,
    candidates: [chosen],
  } = decision;
  if (!chosen || chosen.verdict === 'excluded') return 'No candidate can take this request.';
  const until = decision.pending && pendingText(decision.pending);
  const score = `score ${complexity.score.toFixed(2)}`;
  if (asked.model !== undefined)
    return [`${candidateName(chosen)} was asked for (${score}).`, until].filter((part) => part).join(' ');
  const kind =
    complexity.score >= complexFromScore ? 'Complex' : complexity.score >= complexFromScore / 2 ? 'Medium' : 'Simple';
  const among = asked.backend === 'auto' ? '' : ` among ${asked.backend}`;
  const why = `${kind} prompt (${score}): ${chosen.kind} ${candidateName(chosen)} is ${meritOf(decision)}${among}: ${reasonOf(chosen)}.`;
  const parts = [
    why,
    decision.quality && qualityText(decision.quality),
    decision.cascade && planOf(decision.cascade),
    until,
  ];
  return parts.filter((part) => part).join(' ');
}

function meritOf({ priority, quality, dedicatedFromScore, complexity }: Decision): string {
  if (dedicatedFromScore !== null) {
    const side = complexity.score < dedicatedFromScore ? 'below' : 'from';
    return `first ${side} score ${dedicatedFromScore.toFixed(2)}, which keeps the share of serverless answers`;
  }
  const isReached = quality !== null && quality.answerNanoUsd !== null;
  return `the best value for ${isReached ? `quality ${quality.asked}` : `priority ${priority}`}`;
}

function pendingText(pending: readonly Pending[]): string {
  return `${pending.map(sayPending).join('; ')}: serverless models answer until then.`;
}

/** What a wish for quality comes to, with the saving and what both were measured at. */
function qualityText({ asked, requests, answerNanoUsd, expected, saving }: QualityGoal): string {
  if (answerNanoUsd === null || expected === null) {
    return `Quality ${asked} was not aimed at: ${requests} answered requests are too few to tell what it takes (${neededRequests} needed).`;
  }
  const saved = saving === null ? '' : ` at ${percent(saving)} less cost`;
  return `Over the last ${requests} requests this reaches ${percent(expected)} of the strongest models' quality, as predicted,${saved}.`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** What may follow the first answer, in a sentence. */
function planOf({ next, escalates, expectedCostNanoUsd }: CascadePlan): string {
  const share =
    escalates === null
      ? 'where it is refused, empty, cut or not the form asked for'
      : `in about ${Math.round(100 * escalates)} % of such cases`;
  const cost = expectedCostNanoUsd === null ? '' : `, about ${formatUsd(expectedCostNanoUsd)} in all`;
  return `Its answer is checked, and ${candidateName(next)} asked after it ${share}${cost}.`;
}

/** What speaks for a candidate, or against it. */
export function reasonOf({ constraint, note, spared, ...candidate }: Candidate): string {
  if (constraint !== null && note !== null) return note;
  const { kind, suitability, predictedCostNanoUsd, predictedLatencyMs } = candidate;
  const price = predictedCostNanoUsd === null ? 'price unknown' : `about ${formatUsd(predictedCostNanoUsd)}`;
  return [
    `suits ${suitability.toFixed(2)}`,
    kind === 'dedicated' ? 'no cost beyond its minutes' : price,
    `about ${(predictedLatencyMs / 1000).toFixed(1)} s`,
    ...(spared ? ['kept for complex and latency-critical work'] : []),
    ...(note === null ? [] : [note]),
  ].join(', ');
}

/** In words, what would lead to another choice: another priority, or a harder or easier prompt. */
export function wouldChange(sized: Sized, snapshot: Snapshot, decision: Decision, decide = route): string[] {
  const current = choiceOf(decision);
  const changes: string[] = [];
  const byPriority = { ...snapshot, quality: undefined };
  for (const priority of priorities) {
    if (priority === sized.request.priority && snapshot.quality === undefined) continue;
    const choice = choiceOf(decide({ ...sized, request: { ...sized.request, priority } }, byPriority));
    if (choice !== current && choice) changes.push(`priority ${priority} -> ${choice}`);
  }
  const { score } = sized.complexity;
  for (const direction of [1, -1]) {
    for (
      let other = nextStep(score, direction);
      other >= 0 && other <= 1;
      other = round(other + direction * scoreStep)
    ) {
      const choice = choiceOf(decide({ ...sized, complexity: atScore(sized.complexity, other) }, snapshot));
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
