import { z } from 'zod';
import { AppError } from '../errors.ts';
import { newDeploymentId, newHuntId } from '../lambda/deployment-spec.ts';
import { type HuntOrder, type HuntPlan, planHunt } from '../lambda/plan.ts';
import { instanceCostNano, nanoToUsd } from '../money.ts';
import type { DeploymentSpec } from '../usage/deployments.ts';
import { excerpt, filesystemsIn } from './launch-machine.ts';
import { backendName, describeServing, requireFit, type ServeInput, serveSpec } from './launch-serve.ts';
import { usd } from './text.ts';
import type { ToolContext } from './tool.ts';

const hourMs = 3_600_000;
const longestHuntMs = 14 * 24 * hourMs;

export const waitInput = z.strictObject({
  types: z.array(z.string().min(1)).min(1).max(12).optional().describe('in order of preference'),
  regions: z.array(z.string().min(1)).min(1).optional(),
  max_hourly_usd: z.number().positive().optional(),
  until: z.string().describe('ISO 8601 with offset'),
});

export type WaitInput = z.output<typeof waitInput>;

export interface PlannedHunt {
  hunt: HuntPlan;
  untilMs: number;
  worstCaseNanoUsd: number;
  /** Null: a machine that serves nothing. */
  spec: DeploymentSpec | null;
  arithmetic: string | null;
}

export async function proposeHunt(
  wait: WaitInput,
  order: Omit<HuntOrder, 'types' | 'regions'> & { instanceType: string | undefined; region: string | undefined },
  serve: ServeInput | undefined,
  context: ToolContext,
): Promise<PlannedHunt> {
  const { fleet, launcher, signal } = context;
  const types = typesWanted(wait, order.instanceType);
  const untilMs = requireUntil(wait.until, context);
  const name = serve ? backendName(order.name, serve, context) : order.name;
  const plan = await planHunt(
    fleet,
    {
      ...order,
      name,
      types,
      regions: regionsWanted(wait, order.region),
      maxHourlyUsd: lowestLimit(wait.max_hourly_usd, order.maxHourlyUsd),
    },
    signal,
  );
  const [dearest] = plan.types.toSorted((one, other) => other.priceCentsPerHour - one.priceCentsPerHour);
  await fleet.quote({ ...plan, instanceType: dearest?.name ?? '' });
  // Prices may rise, up to the limit.
  const worstCaseNanoUsd = instanceCostNano(plan.maxPriceCentsPerHour ?? plan.priceCentsPerHour, plan.leaseMs);
  if (!serve) return { hunt: plan, untilMs, worstCaseNanoUsd, spec: null, arithmetic: null };
  const arithmetic = requireFit(serve, plan.types, await fleet.types(signal));
  const spec = serveSpec(serve, { ...plan, types }, context);
  await launcher.check(spec);
  return { hunt: plan, untilMs, worstCaseNanoUsd, spec, arithmetic };
}

/** Writes the hunt, and the deployment that it is for: from then on it goes on by itself. Returns the hunt's id. */
export async function beginHunt({ hunt: plan, untilMs, spec }: PlannedHunt, context: ToolContext): Promise<string> {
  const { hunts, deployments, clock } = context;
  const nowMs = clock.nowMs();
  const id = newHuntId();
  const wish = {
    types: plan.types.map((type) => type.name),
    regions: plan.regions,
    maxPriceCentsPerHour: plan.maxPriceCentsPerHour,
    name: plan.name,
    sshKeyName: plan.sshKeyName,
    imageFamily: plan.imageFamily,
    filesystems: plan.filesystemNames,
    userData: plan.userData ?? null,
    leaseHours: plan.leaseMs / hourMs,
  };
  const deploymentId = spec ? newDeploymentId() : null;
  const hunt = { id, deploymentId, ordinal: spec ? 1 : null, wish, untilMs, nowMs };
  await hunts.open(hunt, async (queries) => {
    if (spec && deploymentId)
      await deployments.open({ id: deploymentId, name: plan.name, spec, intentId: null, nowMs }, queries);
  });
  await deployments.onChange();
  return id;
}

export function presentHunt(
  { hunt: plan, untilMs, worstCaseNanoUsd, spec, arithmetic }: PlannedHunt,
  { calendar }: ToolContext,
) {
  return {
    types: plan.types.map((type) => type.name),
    regions: plan.regions ?? 'any',
    name: plan.name,
    until: calendar.format(untilMs),
    max_price_usd_per_hour: (plan.maxPriceCentsPerHour ?? plan.priceCentsPerHour) / 100,
    lease_hours: plan.leaseMs / hourMs,
    worst_case_usd: nanoToUsd(worstCaseNanoUsd),
    ssh_key: plan.sshKeyName,
    image_family: plan.imageFamily,
    filesystems: plan.filesystemNames,
    ...(spec && { serves: describeServing(spec, arithmetic ?? '') }),
    ...(plan.userData !== undefined && { user_data: excerpt(plan.userData) }),
  };
}

export function describeHunt(plan: Record<string, unknown>): string {
  const serves = plan.serves ? `, to serve ${plan.serves}` : '';
  const script = plan.user_data ? `, which runs this as root when it boots: ${plan.user_data}` : '';
  const where = Array.isArray(plan.regions) ? ` in ${plan.regions.join(', ')}` : '';
  const types = plan.types as string[];
  const wanted = types.length === 1 ? `a ${types[0]}` : `the first of ${types.join(', ')}`;
  return `wait until ${plan.until} for ${wanted}${where} at up to ${usd(Number(plan.max_price_usd_per_hour))} an hour, then launch it as "${plan.name}" without asking again${serves}${script}; lease ${plan.lease_hours} h, then terminated: ${usd(Number(plan.worst_case_usd))} at most; SSH key ${plan.ssh_key}, image ${plan.image_family}${filesystemsIn(plan.filesystems as string[])}`;
}

/** What a hunt may cost at most is said before it begins, so a price that nobody named is the one of now. */
export function cappedAtNow(planned: PlannedHunt): PlannedHunt {
  const { hunt } = planned;
  const maxPriceCentsPerHour = hunt.maxPriceCentsPerHour ?? hunt.priceCentsPerHour;
  return { ...planned, hunt: { ...hunt, maxPriceCentsPerHour } };
}

function typesWanted({ types }: WaitInput, instanceType: string | undefined): readonly string[] {
  if (types && (instanceType === undefined || types.includes(instanceType))) return types;
  if (!types && instanceType !== undefined) return [instanceType];
  throw new AppError(
    'invalid_input',
    types ? `instance_type is not among wait_for_capacity.types.` : 'No instance type is named.',
    { next: 'Give wait_for_capacity.types, or instance_type.' },
  );
}

function regionsWanted({ regions }: WaitInput, region: string | undefined): readonly string[] | undefined {
  if (region === undefined) return regions;
  if (!regions || regions.includes(region)) return [region];
  throw new AppError('invalid_input', 'region is not among wait_for_capacity.regions.', {
    next: 'Give one of them.',
  });
}

function lowestLimit(...limits: readonly (number | undefined)[]): number | undefined {
  const given = limits.filter((limit) => limit !== undefined);
  return given.length > 0 ? Math.min(...given) : undefined;
}

function requireUntil(text: string, { clock, calendar }: ToolContext): number {
  const hasOffset = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)$/.test(text);
  const untilMs = hasOffset ? Date.parse(text) : Number.NaN;
  const nowMs = clock.nowMs();
  if (untilMs > nowMs && untilMs <= nowMs + longestHuntMs) return untilMs;
  throw new AppError('invalid_input', `wait_for_capacity.until is "${text.slice(0, 40)}".`, {
    next: `Give a time with its offset, such as ${new Date(nowMs + 6 * hourMs).toISOString().slice(0, 19)}Z, in the next 14 days. It is ${calendar.format(nowMs)} (${calendar.timeZone}).`,
  });
}
