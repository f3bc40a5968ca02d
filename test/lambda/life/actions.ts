import fc from 'fast-check';

/** One thing that happens in the life of a fleet. Times are minutes of the cloud's clock. */
export type Action =
  | { do: 'launch'; leaseHours: number }
  | { do: 'serve'; leaseHours: number }
  | { do: 'hunt'; serves: boolean; hours: number }
  | { do: 'renew'; which: number; hours: number }
  | { do: 'terminate'; which: number }
  | { do: 'go'; minutes: number }
  | { do: 'restart' }
  /** The process is killed at one of its next waits, in the middle of whatever it does then; another one follows. */
  | { do: 'killAt'; wait: number; during: 'launch' | 'serve' | 'pass' | 'terminate' }
  | { do: 'secondKeeper'; on: boolean }
  | { do: 'unattended'; minutes: number }
  | { do: 'loseState'; minutes: number }
  | { do: 'launchAnswer'; fault: AnswerFault; afterCommit: boolean; delaySeconds: number }
  | { do: 'terminateAnswer'; fault: AnswerFault | 'ignored' | 'omitted'; afterCommit: boolean }
  | { do: 'listAnswer'; fault: AnswerFault; times: number }
  | { do: 'vanish' | 'endedByOther'; which: number }
  | { do: 'boots'; fate: Fate }
  | { do: 'price'; factor: number }
  | { do: 'apiDown'; minutes: number }
  /** The API goes down as soon as it has answered (or lost) the next launch or termination. */
  | { do: 'downAfter'; what: 'launch' | 'terminate'; minutes: number }
  | { do: 'soldOut'; minutes: number }
  | { do: 'refuseLaunches'; times: number }
  | { do: 'jump'; minutes: number };

export type AnswerFault = 'dropped' | '429' | '500' | '502 page' | '504 empty';
export type Fate = 'good' | 'unhealthy' | 'stuck' | 'dead' | 'cuda' | 'dies';

const leaseHours = fc.constantFrom(0.1, 0.25, 0.5, 1, 2, 3);
const which = fc.nat(5);
const fault = fc.constantFrom<AnswerFault[]>('dropped', '429', '500', '502 page', '504 empty');
const minutes = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 15 }) },
  { weight: 2, arbitrary: fc.integer({ min: 15, max: 60 }) },
  { weight: 1, arbitrary: fc.integer({ min: 60, max: 240 }) },
);

function one<Kind extends Action['do']>(kind: Kind, rest: object = {}): fc.Arbitrary<Action> {
  return fc.record({ do: fc.constant(kind), ...rest }) as unknown as fc.Arbitrary<Action>;
}

const usual: fc.WeightedArbitrary<Action>[] = [
  { weight: 9, arbitrary: one('launch', { leaseHours }) },
  { weight: 9, arbitrary: one('serve', { leaseHours }) },
  { weight: 5, arbitrary: one('hunt', { serves: fc.boolean(), hours: fc.constantFrom(0.2, 1, 2) }) },
  { weight: 3, arbitrary: one('renew', { which, hours: fc.constantFrom(0.2, 0.5, 1, 2, 3) }) },
  { weight: 5, arbitrary: one('terminate', { which }) },
  { weight: 12, arbitrary: one('go', { minutes }) },
];

const faults: fc.WeightedArbitrary<Action>[] = [
  { weight: 2, arbitrary: one('restart') },
  {
    weight: 3,
    arbitrary: one('killAt', {
      wait: fc.integer({ min: 1, max: 12 }),
      during: fc.constantFrom('launch', 'serve', 'pass', 'terminate'),
    }),
  },
  { weight: 2, arbitrary: one('secondKeeper', { on: fc.boolean() }) },
  { weight: 1, arbitrary: one('unattended', { minutes }) },
  { weight: 1, arbitrary: one('loseState', { minutes }) },
  {
    weight: 5,
    arbitrary: one('launchAnswer', { fault, afterCommit: fc.boolean(), delaySeconds: fc.constantFrom(0, 0, 5, 120) }),
  },
  {
    weight: 3,
    arbitrary: one('terminateAnswer', {
      fault: fc.oneof(fault, fc.constantFrom('ignored', 'omitted')),
      afterCommit: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: one('listAnswer', { fault, times: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 1, arbitrary: one('vanish', { which }) },
  { weight: 1, arbitrary: one('endedByOther', { which }) },
  {
    weight: 3,
    arbitrary: one('boots', { fate: fc.constantFrom('good', 'unhealthy', 'stuck', 'dead', 'cuda', 'dies') }),
  },
  { weight: 1, arbitrary: one('price', { factor: fc.constantFrom(0.5, 1, 1.5, 2) }) },
  { weight: 2, arbitrary: one('apiDown', { minutes: fc.integer({ min: 1, max: 60 }) }) },
  {
    weight: 2,
    arbitrary: one('downAfter', {
      what: fc.constantFrom('launch', 'terminate'),
      minutes: fc.integer({ min: 1, max: 60 }),
    }),
  },
  { weight: 2, arbitrary: one('soldOut', { minutes: fc.integer({ min: 1, max: 90 }) }) },
  { weight: 1, arbitrary: one('refuseLaunches', { times: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: one('jump', { minutes: fc.integer({ min: -90, max: 90 }) }) },
];

/** A life: whether the schedule has an entry, and what happens, in order. */
export const lives = fc.record({
  scheduled: fc.boolean(),
  actions: fc.array(fc.oneof(...usual, ...faults), { minLength: 1, maxLength: 18, size: 'max' }),
});
