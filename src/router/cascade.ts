import type { Priority } from '../config/schema.ts';
import type { Kind } from './complexity/answer/question.ts';
import type { AnswerCheck } from './complexity/answer.ts';
import { chance, logOdds } from './complexity/prior.ts';
import { standing } from './complexity/suitability.ts';
import type { Candidate, CascadePlan, Complexity, Decision, QualityGoal } from './types.ts';
import { worthFor } from './worth.ts';

/**
 * How often a strong model is right where a weak one was wrong, relative to how often it is right at all: what is hard
 * for one is hard for the other. Measured on public evaluation results (GSM8K, MMLU-Pro, MATH level 5; seven pairs of
 * models): 0.50 to 0.93, 0.70 on average.
 */
const rightAfterWrong = 0.7;

/**
 * How far the scorer's opinion of the prompt moves the checker's opinion of the answer, which has read the prompt too.
 * By cross-validation on the same data; from 0.15 to 0.5 little changes.
 */
const scorerShare = 0.25;

/**
 * How well the check tells right answers from wrong ones: the distance of both in log odds, in standard deviations.
 * From the chance that a right answer is rated above a wrong one (0.81, 0.74, 0.67 by cross-validation), rounded down.
 */
const separation: Record<Kind, number> = { story: 1.2, choice: 0.9, formula: 0.6, open: 0 };

/** Another order than that of `route()` must promise at least this much, as a share of an answer's worth. */
const leastAdvantage = 0.01;

/** All that an untrained check can know is form; these are the defects that are worth another model's answer. */
const plainDefects: readonly string[] = ['empty', 'refusal', 'unfinished', 'no_json'];

/** Nobody is surer of an answer before it is there: rules and rounding say 1 now and then. */
const surest = 0.995;

/** A call may take longer than predicted; with less time than this many times the prediction none is begun. */
const timeReserve = 1.5;

/** What the check of an answer leads to. */
export interface Verdict {
  /** Chance that the answer is right, by check and scorer together. */
  right: number;
  basis: AnswerCheck['basis'];
  /** What speaks most against the answer; null: nothing does. */
  sign: string | null;
  /** Who is asked next; null: the answer stands. */
  next: Candidate | null;
  /** What the best stronger candidate would add, as a share of right answers, what that is worth, and what it takes. */
  gain: number;
  gainNanoUsd: number;
  burdenNanoUsd: number;
}

/** What is known when an answer of `answered` is there. */
export interface Answered {
  answered: Candidate;
  check: AnswerCheck;
  /** Those that may still be asked. */
  others: readonly Candidate[];
  priority: Priority;
  quality?: QualityGoal | null;
  /** Of the time for the request. */
  leftMs: number;
}

/**
 * Decides whether a stronger model is asked after an answer, and which: the one for which
 * `worth of an answer * gain - (cost + waiting)` is highest, where that is above zero. Pure.
 */
export function judge({ answered, check, others, priority, quality, leftMs }: Answered): Verdict {
  const { right, sign, isJudged } = opinionOf(check, answered.suitability);
  const worth = worthFor(priority, quality).answerNanoUsd;
  const verdict: Verdict = {
    right,
    basis: check.basis,
    sign,
    next: null,
    gain: 0,
    gainNanoUsd: 0,
    burdenNanoUsd: 0,
  };
  if (!isJudged || priority === 'latency_critical') return verdict;
  const offers = others
    .filter((other) => isStronger(other, answered) && other.predictedLatencyMs * timeReserve <= leftMs)
    .map((candidate) => {
      const gain = gainOf(right, answered.suitability, candidate.suitability);
      return { candidate, gain, gainNanoUsd: Math.round(gain * worth), burdenNanoUsd: candidate.burdenNanoUsd };
    })
    .sort((one, other) => netOf(other) - netOf(one));
  const [best] = offers;
  if (!best) return verdict;
  const { candidate, ...sums } = best;
  return { ...verdict, ...sums, next: netOf(best) > 0 ? candidate : null };
}

function netOf({ gainNanoUsd, burdenNanoUsd }: Pick<Verdict, 'gainNanoUsd' | 'burdenNanoUsd'>): number {
  return gainNanoUsd - burdenNanoUsd;
}

/** Whether one may be asked after the other: it stands higher, and nothing is wrong with it. */
function isStronger(other: Candidate, than: Candidate): boolean {
  return (other.verdict === 'chosen' || other.verdict === 'fallback') && standing[other.tier] > standing[than.tier];
}

/** `isJudged`: what was seen may lead to another model. */
function opinionOf(
  { right, basis, rightRate, signs }: AnswerCheck,
  suitability: number,
): { right: number; sign: string | null; isJudged: boolean } {
  const against = signs.filter(({ name, contribution }) => contribution < 0 && !name.startsWith('question_'));
  if (basis === 'trained')
    return { right: rightChance(right, rightRate, suitability), sign: against[0]?.name ?? null, isJudged: true };
  const found = against.filter(({ name }) => plainDefects.includes(name));
  if (found.length === 0) return { right: suitability, sign: null, isJudged: false };
  // However easy a prompt is: a refusal is no answer to it.
  const before = Math.min(suitability, rightChance(rightRate, rightRate, suitability));
  const odds = found.reduce((sum, { contribution }) => sum + contribution, logOdds(before));
  return { right: chance(odds), sign: found[0]?.name ?? null, isJudged: true };
}

/** The trained check's opinion, moved by what the scorer expects of this model on this prompt. */
export function rightChance(checked: number, rightRate: number, suitability: number): number {
  const expected = Math.min(surest, Math.max(1 - surest, suitability));
  return chance(logOdds(checked) + scorerShare * (logOdds(expected) - logOdds(rightRate)));
}

/**
 * What a stronger model's answer adds to right answers, on average, when the cheap one is right with chance `right`;
 * before any check they are right with chances `cheap` and `strong`. Falls as `right` rises.
 */
export function gainOf(right: number, cheap: number, strong: number): number {
  const { afterWrong, afterRight } = strongAfter(cheap, strong);
  return (1 - right) * afterWrong - right * (1 - afterRight);
}

/**
 * What the large model would add after an answer of the small one, as `tandem score --cascade` prints it; null: no
 * answer is there, and the prompt alone speaks.
 */
export function escalationGain({ suffices, gain }: Complexity, check: AnswerCheck | null): number {
  const { small, large } = suffices;
  // The scorer's own figure is not bounded, so that no two prompts tie.
  if (check === null) return gain ?? large - small;
  return gainOf(opinionOf(check, small).right, small, large);
}

/** Chances of the strong answer given that the cheap one is wrong, or right; both together make `strong`. */
function strongAfter(cheap: number, strong: number): { afterWrong: number; afterRight: number } {
  // Where the cheap one can do little, even being right whenever that is right would not make `strong`.
  const least = (strong - cheap) / Math.max(1 - cheap, 0.001);
  const afterWrong = Math.max(rightAfterWrong * strong, Math.min(1, least));
  const afterRight = (strong - (1 - cheap) * afterWrong) / Math.max(cheap, 0.001);
  return { afterWrong, afterRight: Math.min(1, afterRight) };
}

/**
 * The decision with what may follow the first answer, and with another first where a cheaper model, the check of its
 * answer and sometimes a stronger one promise more together than the candidate that is ranked first does alone. Pure.
 */
export function planCascade(decision: Decision, kind: Kind): Decision {
  const { candidates, priority, quality } = decision;
  const [first] = candidates;
  if (first?.verdict !== 'chosen' || priority === 'latency_critical') return decision;
  const worth = worthFor(priority, quality).answerNanoUsd;
  const offers = candidates.flatMap((cheap) =>
    cheap === first || cheap.verdict === 'fallback'
      ? candidates
          .filter((strong) => isStronger(strong, cheap))
          .flatMap((strong) => offerOf(cheap, strong, worth, kind) ?? [])
      : [],
  );
  const best = (all: Offer[]) => all.toSorted((one, other) => other.valueNanoUsd - one.valueNanoUsd)[0];
  const own = best(offers.filter((offer) => offer.plan.first === first));
  const other = best(offers.filter(({ plan }) => plan.first !== first && plan.escalates !== null));
  const ownValue = Math.max(first.valueNanoUsd, own?.valueNanoUsd ?? Number.NEGATIVE_INFINITY);
  if (other && other.valueNanoUsd > ownValue + leastAdvantage * worth) return beginWith(decision, other.plan);
  return own ? { ...decision, cascade: own.plan } : decision;
}

interface Offer {
  plan: CascadePlan;
  valueNanoUsd: number;
}

/** Null: the stronger one would never be asked, as it costs more than it could add. */
function offerOf(first: Candidate, next: Candidate, worth: number, kind: Kind): Offer | null {
  const { afterWrong, afterRight } = strongAfter(first.suitability, next.suitability);
  const below = (afterWrong - next.burdenNanoUsd / worth) / (afterWrong + 1 - afterRight);
  if (!(below > 0)) return null;
  const distance = separation[kind];
  if (distance === 0)
    return { plan: { first, next, escalates: null, expectedCostNanoUsd: null }, valueNanoUsd: first.valueNanoUsd };
  const threshold = logOdds(below) - logOdds(first.suitability);
  const ofWrong = normalShare((threshold + distance ** 2 / 2) / distance);
  const ofRight = normalShare((threshold - distance ** 2 / 2) / distance);
  const wrong = (1 - first.suitability) * ofWrong;
  const right = first.suitability * ofRight;
  const escalates = wrong + right;
  // What the arithmetic says beyond the strong model alone did not show in the data: at best both were as good.
  const gained = Math.min(wrong * afterWrong - right * (1 - afterRight), next.suitability - first.suitability);
  return {
    plan: { first, next, escalates, expectedCostNanoUsd: expectedCost(first, next, escalates) },
    valueNanoUsd: first.valueNanoUsd + Math.round(gained * worth - escalates * next.burdenNanoUsd),
  };
}

function expectedCost(first: Candidate, next: Candidate, escalates: number): number | null {
  if (first.predictedCostNanoUsd === null || next.predictedCostNanoUsd === null) return null;
  return first.predictedCostNanoUsd + Math.round(escalates * next.predictedCostNanoUsd);
}

/** Share of a normal distribution below a value, to one in a hundred: the logistic curve that is closest to it. */
function normalShare(value: number): number {
  return chance(1.702 * value);
}

function beginWith(decision: Decision, plan: CascadePlan): Decision {
  const first: Candidate = { ...plan.first, verdict: 'chosen' };
  const others = decision.candidates
    .filter((candidate) => candidate !== plan.first)
    .map(
      (candidate): Candidate => (candidate.verdict === 'chosen' ? { ...candidate, verdict: 'fallback' } : candidate),
    );
  const next = others.find(({ backend, model }) => backend === plan.next.backend && model === plan.next.model);
  return { ...decision, candidates: [first, ...others], cascade: { ...plan, first, next: next ?? plan.next } };
}
