import type { LambdaFaults } from '../../../src/sandbox/lambda/faults.ts';
import type { Action, AnswerFault, Fate } from './actions.ts';

const minuteMs = 60_000;
const usualCents: Record<string, number> = { gpu_1x_a10: 129, gpu_1x_gh200: 229 };

const answers: Record<AnswerFault, object> = {
  dropped: { dropConnection: true },
  '429': { status: 429 },
  '500': { status: 500 },
  '502 page': { status: 502, body: 'html' },
  '504 empty': { status: 504, body: 'empty' },
};

const fates: Record<Fate, object> = {
  good: {},
  unhealthy: { boot: { outcome: 'unhealthy' } },
  stuck: { boot: { outcome: 'stuck' } },
  dead: { serving: { dead: true } },
  cuda: { cudaBroken: true },
  dies: { serving: { diesAfterMs: 10 * minuteMs } },
};

/** What the cloud is told for an action that is a fault of it. */
export function faultOf(action: Action, faults: LambdaFaults, nowMs: number): object {
  const next = (match: string, answer: object) => ({
    nextResponses: [...faults.nextResponses, { match, ...answer }],
  });
  switch (action.do) {
    case 'launchAnswer': {
      const delay = action.delaySeconds > 0 ? { delayMs: action.delaySeconds * 1_000 } : {};
      const answer = { ...answers[action.fault], ...delay, afterCommit: action.afterCommit };
      return next('POST /instance-operations/launch', answer);
    }
    case 'terminateAnswer':
      if (action.fault === 'ignored') return { terminate: { ignoreTimes: 1 } };
      if (action.fault === 'omitted') return { terminate: { omitFromAnswerTimes: 1 } };
      return next('POST /instance-operations/terminate', {
        ...answers[action.fault],
        afterCommit: action.afterCommit,
      });
    case 'listAnswer':
      return next('GET /instances', { ...answers[action.fault], times: action.times });
    case 'boots': {
      const good = { boot: { outcome: 'active' }, serving: { dead: false, diesAfterMs: null }, cudaBroken: false };
      return { ...good, ...fates[action.fate] };
    }
    case 'price':
      return {
        priceCentsPerHour: Object.fromEntries(
          Object.entries(usualCents).map(([type, cents]) => [type, Math.round(cents * action.factor)]),
        ),
      };
    case 'apiDown':
      return { apiDownUntilMs: nowMs + action.minutes * minuteMs };
    case 'soldOut':
      return {
        soldOutUntilMs: Object.fromEntries(
          Object.keys(usualCents).map((type) => [type, nowMs + action.minutes * minuteMs]),
        ),
      };
    case 'refuseLaunches':
      return { refuseLaunches: action.times };
    default:
      throw new Error(`${action.do} is no fault of the cloud`);
  }
}

/** Whether requests fail now that would not otherwise. */
export function isTrouble(faults: LambdaFaults, nowMs: number): boolean {
  const { ignoreTimes } = faults.terminate;
  return (
    nowMs < (faults.apiDownUntilMs ?? 0) ||
    ignoreTimes > 0 ||
    faults.nextResponses.some(({ match }) => match !== 'POST /instance-operations/launch')
  );
}
