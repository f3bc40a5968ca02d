import { join } from 'node:path';
import { type Clock, systemClock } from './clock.ts';
import { type Config, type Environment, loadConfig } from './config/index.ts';
import { presetIds } from './config/presets.ts';
import { AppError } from './errors.ts';
import { formatUsd, nanoToUsd } from './money.ts';
import { discoveredModels, modelsBeforehand } from './router/backends/models.ts';
import { toEvidence } from './router/complexity/calibration.ts';
import {
  type Estimate,
  type HeadFigures,
  neededWeight,
  type Refit,
  refit,
} from './router/complexity/calibration-figures.ts';
import { scorerId } from './router/complexity/scorer-id.ts';
import { type Shares, sharesUnder } from './router/shares.ts';
import type { Model, Snapshot } from './router/types.ts';
import { percent, table } from './tools/text.ts';
import { asShipped, Calibrations, type CalibrationVersion } from './usage/calibrations.ts';
import { openDatabase } from './usage/database.ts';
import { type Observations, observationsSince, type Prediction, recentPredictions } from './usage/observations.ts';

export interface CalibrateOptions {
  days: number;
  apply?: boolean;
  /** The version to go back to. */
  use?: number;
  json?: boolean;
}

type Print = (line: string) => void;

const dayMs = 86_400_000;
const shownRaters = 5;

/**
 * Fits the scorer's predictions to what was said of answers, and shows what that would change. Only `apply` and `use`
 * change anything. Throws `invalid_input` where there is too little to learn from or nothing to gain.
 */
export async function calibrate(
  options: CalibrateOptions,
  print: Print,
  { env, clock = systemClock }: { env?: Environment; clock?: Clock } = {},
): Promise<void> {
  const config = loadConfig(env);
  const database = await openDatabase(join(config.home, 'tandem.db'));
  try {
    const calibrations = new Calibrations(database, clock);
    if (options.use !== undefined) return await goBack(options.use, calibrations, options, print);
    const observed = await observationsSince(database.read, clock.nowMs() - options.days * dayMs, scorerId);
    const current = await inUse(calibrations);
    const fit = refit(observed.usable.map(toEvidence), current.calibration);
    requireEnough(observed, fit, options.days);
    const recent = await recentPredictions(database.read);
    const snapshot = snapshotOf(config, recent);
    const under = (calibration: CalibrationVersion['calibration']) =>
      sharesUnder(calibration, recent, config.routing.priority, snapshot);
    const shares = { before: under(current.calibration), after: under(fit.calibration) };
    const worse = options.apply === true && (fit.gain === null || fit.gain.mean <= 0);
    const found = { observed, days: options.days, current, fit, shares, priority: config.routing.priority };
    const version = options.apply && !worse ? await apply(calibrations, found) : null;
    print(options.json ? JSON.stringify(toJson(found, version), null, 2) : describe(found, version));
    if (worse)
      throw new AppError(
        'invalid_input',
        'Nothing was changed: answers that the fit had not seen are not predicted better.',
        {
          next: 'Collect more ratings and try again.',
        },
      );
  } finally {
    await database.close();
  }
}

interface Found {
  observed: Observations;
  days: number;
  current: CalibrationVersion;
  fit: Refit;
  shares: { before: Shares; after: Shares };
  priority: string;
}

/** What servers use now: a calibration for another scorer is as good as none. */
async function inUse(calibrations: Calibrations): Promise<CalibrationVersion> {
  const newest = await calibrations.newest();
  return newest.scorer === null || newest.scorer === scorerId ? newest : { ...newest, calibration: asShipped };
}

async function goBack(version: number, calibrations: Calibrations, { json }: CalibrateOptions, print: Print) {
  const written = await calibrations.goBackTo(version, scorerId);
  if (json) return print(JSON.stringify({ version: written, same_as: version }));
  print(
    `Version ${written} is in use; it is ${version === 0 ? 'the routing as shipped' : `version ${version} again`}. Running servers take it up within a minute.`,
  );
}

function apply(calibrations: Calibrations, { observed, days, fit }: Found): Promise<number> {
  return calibrations.add({
    source: `${sources(observed)} of ${days} days`,
    scorer: scorerId,
    calibration: fit.calibration,
    figures: fit.figures,
  });
}

function requireEnough(observed: Observations, { figures }: Refit, days: number): void {
  if (figures.some(({ isFitted }) => isFitted)) return;
  const each = figures.map(({ head, weight }) => `${head} models ${round(weight)} of ${neededWeight}`).join(', ');
  throw new AppError(
    'invalid_input',
    `There is too little to learn from: ${sources(observed)} in ${days} days${leftOut(observed)}. There is the weight of this many ratings: ${each} needed. Nothing was changed.`,
    {
      next: 'Rate answers with the tool rate_response, let answers be compared (routing.shadow in tandem.yaml), or give more --days.',
    },
  );
}

function sources({ usable }: Observations): string {
  const ratings = usable.filter(({ by }) => by === 'rating').length;
  return `${count(ratings, 'rating')} and ${count(usable.length - ratings, 'comparison')}`;
}

/** Whoever has a token for prompts may rate its answers: who applies this should see whose word it is. */
function raters({ usable }: Observations): string[] {
  const counts = new Map<string, number>();
  for (const { principalId } of usable)
    if (principalId !== null) counts.set(principalId, (counts.get(principalId) ?? 0) + 1);
  const most = [...counts].sort(([, one], [, other]) => other - one);
  const shown = most.slice(0, shownRaters).map(([id, amount]) => `${id} ${amount}`);
  const more = most.length - shown.length;
  return shown.length === 0 ? [] : [shown.join(', ') + (more > 0 ? ` and ${more} more` : '')];
}

function leftOut({ leftOut: unusable }: Observations): string {
  return unusable === 0 ? '' : ` (${unusable} more say nothing about this scorer, ${scorerId}, or about a known model)`;
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

function describe({ observed, days, current, fit, shares, priority }: Found, version: number | null): string {
  const { before, after } = shares;
  const figures = fit.figures.map((head) => [
    head.head,
    String(head.answers),
    round(head.weight),
    plusMinus(head.before.brier),
    afterOf(head, head.after.brier),
    plusMinus(head.before.logLoss),
    afterOf(head, head.after.logLoss),
    head.correction.slope.toFixed(2),
    head.correction.offset.toFixed(2),
  ]);
  const rows: [string, string, string][] = [
    ['small models', percent(before.tiers.small), percent(after.tiers.small)],
    ['medium models', percent(before.tiers.medium), percent(after.tiers.medium)],
    ['large models', percent(before.tiers.large), percent(after.tiers.large)],
    ['serverless', percent(before.serverless), percent(after.serverless)],
    ['cost per request', formatUsd(before.costNanoUsd), formatUsd(after.costNanoUsd)],
  ];
  const missing = fit.figures.filter(({ isFitted }) => !isFitted);
  return [
    `${sources(observed)} of ${count(days, 'day')}${leftOut(observed)}, against version ${current.version} (${current.source}).`,
    ...raters(observed).map((line) => `Rated by ${line}.`),
    '',
    table(['models', 'answers', 'weight', 'Brier now', 'after', 'log loss now', 'after', 'slope', 'offset'], figures),
    '',
    'After is cross-validated: every answer is judged by a fit that had not seen it. Weight is in ratings: an agreement in free words counts a quarter.',
    `Over all answers the log loss falls by ${plusMinus(fit.gain)}${isClear(fit.gain) ? '' : ', which may be chance'}.`,
    ...missing.map(
      ({ head, weight }) => `Predictions for ${head} models stay: ${round(weight)} of ${neededWeight} needed.`,
    ),
    '',
    ...(before.requests === 0
      ? ['There are no recent requests to say what it would change.']
      : [
          `The last ${before.requests} chats, at present prices and priority ${priority}:`,
          '',
          table(['', 'now', 'after'], rows),
        ]),
    '',
    version === null
      ? 'Nothing was changed. `tandem calibrate --apply` puts it into use.'
      : `Version ${version} is in use; running servers take it up within a minute. Back: tandem calibrate --use ${current.version}`,
  ].join('\n');
}

function toJson({ observed, days, current, fit, shares }: Found, version: number | null) {
  const shareJson = ({ requests, tiers, serverless, costNanoUsd }: Shares) => ({
    requests,
    tiers,
    serverless,
    cost_per_request_usd: nanoToUsd(costNanoUsd),
  });
  return {
    days,
    scorer: scorerId,
    observations: observed.usable.length,
    left_out: observed.leftOut,
    current_version: current.version,
    applied_version: version,
    calibration: fit.calibration,
    figures: fit.figures,
    log_loss_gain: fit.gain,
    shares: { before: shareJson(shares.before), after: shareJson(shares.after) },
  };
}

function plusMinus(estimate: Estimate | null): string {
  if (estimate === null) return '–';
  const { mean, standardError } = estimate;
  return `${mean.toFixed(3)} ± ${standardError.toFixed(3)}`;
}

function afterOf({ isFitted }: HeadFigures, after: Estimate | null): string {
  return isFitted ? plusMinus(after) : 'stays';
}

/** Two standard errors. */
function isClear(estimate: Estimate | null): boolean {
  return estimate !== null && estimate.mean > 2 * estimate.standardError;
}

function round(weight: number): string {
  return String(Math.round(weight * 10) / 10);
}

/** The models as the configuration has them; no server is asked. Where it has none, those that answered of late. */
function snapshotOf(config: Config, recent: readonly Prediction[]): Snapshot {
  const known = config.backends.map(({ id, kind, preset, models }) => ({ id, kind, preset, models }));
  // Keys are often set where the server runs and not where this does: presets are told by who answered.
  const others = presetIds
    .filter((id) => recent.some(({ backend }) => backend === id) && !known.some((backend) => backend.id === id))
    .map((id) => ({ id, kind: 'serverless' as const, preset: id, models: null }));
  return {
    backends: [...known, ...others].map(({ id, kind, preset, models }) => ({
      id,
      kind,
      unusable: null,
      health: { usable: true, reason: null },
      callsUnderWay: 0,
      maxConcurrentRequests: null,
      models: firstOf(modelsBeforehand({ preset, models }), () => modelsSeen(id, recent)),
    })),
    speeds: new Map(),
    fallbacks: {},
    privacy: config.routing.privacy,
    budgetLeftNanoUsd: Number.MAX_SAFE_INTEGER,
  };
}

function modelsSeen(id: string, recent: readonly Prediction[]): Model[] {
  const names = new Set(recent.filter(({ backend }) => backend === id).map(({ model }) => model));
  return discoveredModels(
    [...names].map((name) => ({ id: name, contextWindowTokens: null, supports: null })),
    [],
  );
}

function firstOf(models: Model[], otherwise: () => Model[]): Model[] {
  return models.length > 0 ? models : otherwise();
}
