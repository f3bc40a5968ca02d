import { DateTime } from 'luxon';
import { Agent } from 'undici';
import { type Clock, systemClock } from './clock.ts';
import { type Config, type Environment, loadConfig } from './config/index.ts';
import { LambdaClient } from './lambda/client.ts';
import { checkFleetBudget, refuse } from './lambda/fleet-budget.ts';
import { Pacer } from './lambda/pacer.ts';
import { misfitsOf, type Prices, priceSnapshot, quoteFor } from './lambda/rates.ts';
import { type Cost, type PlannedHour, planWeek, type QuotedEntry, type WeekPlan } from './lambda/week-plan.ts';
import { formatUsd, hourlyNano, nanoToUsd } from './money.ts';
import { duration, table } from './tools/text.ts';

type Print = (line: string) => void;

/** Nobody waits longer for a price list; the one that comes with Tandem will do. */
const priceTimeoutMs = 10_000;

const example = `fleet:
  - name: analysts
    model: openai/gpt-oss-120b
    types: [gpu_1x_gh200, gpu_2x_a6000]       # in order of preference
    count: 2
    windows: [{days: mon-fri, from: "09:00", to: "18:00"}]
    timeZone: America/New_York
    maxHourlyUsd: 3.5                         # per machine
`;

/** Where prices are from. `problem`: why Lambda could not be asked, when it should have been. */
interface PriceList {
  prices: Prices;
  /** The month of the list that comes with Tandem; null: Lambda's own, now. */
  asOf: string | null;
  problem: string | null;
}

/**
 * Prints what the schedule does today and on the six days after it, and what it costs. Changes nothing. Throws
 * `config_invalid`, after printing what can be known, when the schedule does not fit into the budgets.
 */
export async function printPlan(
  options: { json?: boolean },
  print: Print,
  { env, clock = systemClock }: { env?: Environment; clock?: Clock } = {},
): Promise<void> {
  const config = loadConfig(env);
  const { fleet, budgets } = config;
  if (fleet.length === 0 && !options.json) return print(howToWriteOne(config));
  const nowMs = clock.nowMs();
  const list = await priceList(config, clock);
  // First as every start checks it; live prices may break a budget besides.
  const refused = checkFleetBudget(fleet, budgets, priceSnapshot().prices, nowMs);
  const problems = refused.length > 0 ? refused : checkFleetBudget(fleet, budgets, list.prices, nowMs);
  const entries = fleet.flatMap((entry): QuotedEntry[] => {
    const quote = quoteFor(entry, list.prices);
    return quote ? [{ entry, quote }] : [];
  });
  if (entries.length === fleet.length) {
    const plan = planWeek(entries, nowMs, budgets.timeZone);
    print(
      options.json
        ? JSON.stringify(toJson(plan, list, config, problems), null, 2)
        : describe(plan, list, config, entries),
    );
  }
  refuse(problems, 'Nothing starts with it: mend it in tandem.yaml.');
}

function howToWriteOne({ file, home }: Config): string {
  return [
    `There is no schedule: ${file ?? `${home}/tandem.yaml`} has no fleet. One could be:`,
    '',
    example,
    'Windows are local times of timeZone (left out: that of budgets); a machine is started before its window and is gone after it.',
  ].join('\n');
}

async function priceList({ lambda: { baseUrl, apiKey } }: Config, clock: Clock): Promise<PriceList> {
  const { asOf, prices } = priceSnapshot();
  if (!apiKey) return { prices, asOf, problem: null };
  const dispatcher = new Agent();
  try {
    const client = new LambdaClient({ baseUrl, apiKey, pacer: new Pacer(clock), clock, dispatcher });
    const types = await client.listInstanceTypes(AbortSignal.timeout(priceTimeoutMs));
    return { prices: new Map(types.map((type) => [type.name, type.priceCentsPerHour])), asOf: null, problem: null };
  } catch (error) {
    return { prices, asOf, problem: error instanceof Error ? error.message : String(error) };
  } finally {
    await dispatcher.destroy();
  }
}

function describe(
  plan: WeekPlan,
  list: PriceList,
  { budgets, redactor }: Config,
  entries: readonly QuotedEntry[],
): string {
  const { timeZone } = budgets;
  const local = (ms: number) => DateTime.fromMillis(ms, { zone: timeZone, locale: 'en-US' });
  const dayName = (ms: number) => local(ms).toFormat('ccc yyyy-MM-dd');
  const bars = plan.days.map(({ period, hours, costNanoUsd }) => [
    dayName(period.startMs),
    hours.map(cell).join(''),
    formatUsd(costNanoUsd),
  ]);
  const rows = plan.days.flatMap(({ period, stays }) =>
    stays.map(({ entry, rate, startMs, endMs, costNanoUsd }) => [
      dayName(period.startMs),
      local(startMs).toFormat('HH:mm'),
      endMs === period.endMs ? '24:00' : local(endMs).toFormat('HH:mm'),
      entry.name,
      String(entry.count),
      rate.type,
      formatUsd(entry.count * hourlyNano(rate.centsPerHour)),
      formatUsd(costNanoUsd),
    ]),
  );
  const month = local(plan.month.period.startMs).toFormat('LLLL yyyy');
  const notes = notesOn(entries, list);
  return [
    `What the schedule does in the next seven days, local times of ${timeZone}.`,
    redactor.scrub(whosePrices(list)),
    '',
    table(['machines at', '0     6     12    18', 'cost'], bars),
    '',
    rows.length === 0
      ? 'No window opens in these days.'
      : table(['day', 'from', 'to', 'name', 'machines', 'type', 'per hour', 'cost'], rows),
    '',
    `These seven days: ${upTo(plan)}. The whole of ${month}: ${upTo(plan.month)}.`,
    `Budgets: ${formatUsd(budgets.dailyNanoUsd)} a day, ${formatUsd(budgets.monthlyNanoUsd)} a month, for everything.`,
    ...notes,
  ].join('\n');
}

/** How many machines there are at most in an hour. */
function cell({ machines }: PlannedHour): string {
  if (machines === 0) return '·';
  return machines > 9 ? '+' : String(machines);
}

function whosePrices({ asOf, problem }: PriceList): string {
  if (asOf === null) return 'Prices are those of Lambda Cloud now.';
  const why = problem === null ? 'no Lambda key is set' : `Lambda Cloud could not be asked: ${problem}`;
  return `Prices are of ${asOf}, from the list that comes with Tandem (${why.replace(/\.$/, '')}).`;
}

function upTo({ costNanoUsd, worstNanoUsd }: Cost): string {
  const cost = formatUsd(costNanoUsd);
  return worstNanoUsd === costNanoUsd ? cost : `${cost}, up to ${formatUsd(worstNanoUsd)} with other types`;
}

function notesOn(entries: readonly QuotedEntry[], { prices, asOf }: PriceList): string[] {
  const leads = [...new Set(entries.map(({ quote }) => quote.usual.leadMs))].sort((one, other) => one - other);
  const before = `Machines start ${leads.map(duration).join(' or ')} before their window, to be ready when it opens; that time is paid for and counted in.`;
  const perEntry = entries.flatMap(({ entry, quote }) => {
    const unknown = entry.types.filter((type) => !prices.has(type));
    const { maxCentsPerHour } = entry;
    const cap = formatUsd(maxCentsPerHour === null ? null : hourlyNano(maxCentsPerHour));
    const tooDear = entry.types.filter((type) => maxCentsPerHour !== null && (prices.get(type) ?? 0) > maxCentsPerHour);
    return [
      ...(quote.isTooDear
        ? [
            `${entry.name}: all its types cost more than ${cap} per hour now, so nothing would be launched. Raise maxHourlyUsd or name other types.`,
          ]
        : tooDear.length > 0
          ? [`${entry.name}: ${tooDear.join(', ')} costs more than ${cap} per hour now, and is passed over.`]
          : []),
      ...misfitsOf(entry).map(
        ({ type, arithmetic }) =>
          `${entry.name}: ${entry.model} does not fit on ${type} by our arithmetic: ${arithmetic}.`,
      ),
      ...(unknown.length > 0
        ? [
            `${entry.name}: ${asOf === null ? 'Lambda Cloud does not list' : 'the list does not have'} ${unknown.join(', ')}; counted at maxHourlyUsd (${cap}).`,
          ]
        : []),
    ];
  });
  return [before, ...perEntry];
}

function toJson(plan: WeekPlan, { asOf }: PriceList, { budgets }: Config, problems: readonly string[]) {
  const iso = (ms: number) => DateTime.fromMillis(ms, { zone: budgets.timeZone }).toISO({ suppressMilliseconds: true });
  const costJson = ({ costNanoUsd, worstNanoUsd }: Cost) => ({
    cost_usd: nanoToUsd(costNanoUsd),
    worst_case_usd: nanoToUsd(worstNanoUsd),
  });
  return {
    time_zone: budgets.timeZone,
    prices: { source: asOf === null ? 'lambda_cloud' : 'snapshot', as_of: asOf },
    budgets: { daily_usd: nanoToUsd(budgets.dailyNanoUsd), monthly_usd: nanoToUsd(budgets.monthlyNanoUsd) },
    problems,
    week: costJson(plan),
    month: { name: plan.month.period.name, ...costJson(plan.month) },
    days: plan.days.map((day) => ({
      date: day.period.name,
      ...costJson(day),
      hours: day.hours.map((hour) => ({ from: iso(hour.startMs), machines: hour.machines, ...costJson(hour) })),
      machines: day.stays.map(({ entry, rate, startMs, endMs, costNanoUsd }) => ({
        name: entry.name,
        count: entry.count,
        instance_type: rate.type,
        price_usd_per_hour: nanoToUsd(hourlyNano(rate.centsPerHour)),
        from: iso(startMs),
        to: iso(endMs),
        cost_usd: nanoToUsd(costNanoUsd),
      })),
    })),
  };
}
